"""Selection against sorting by hand."""

import numpy as np
import pytest

from mss.distill.quality.selection import selected_mean, selection_by_source

SDR = np.array([1.0, 5.0, 3.0, 7.0])
ONCE = np.ones((1, 4))


def test_the_best_are_taken():
    score = np.array([0.1, 0.9, 0.2, 0.8])
    assert selected_mean(score, SDR, 0.5, ONCE)[0] == pytest.approx(6)
    assert selected_mean(score, SDR, 0.25, ONCE)[0] == pytest.approx(5)
    assert selected_mean(score, SDR, 1.0, ONCE)[0] == pytest.approx(4)
    # half of a row counts as half
    assert selected_mean(score, SDR, 0.375, ONCE)[0] == pytest.approx((5 + 7 / 2) / 1.5)


def test_a_score_that_is_the_same_everywhere_is_a_random_choice():
    assert selected_mean(np.zeros(4), SDR, 0.25, ONCE)[0] == pytest.approx(4)


def test_a_weight_is_how_often_a_row_stands_in_the_table():
    score = np.array([0.1, 0.9, 0.2, 0.9])
    weights = np.array([[0.0, 2.0, 3.0, 1.0]])
    rows = np.repeat(np.arange(4), weights[0].astype(int))
    expected = selected_mean(score[rows], SDR[rows], 0.4, np.ones((1, 6)))
    assert selected_mean(score, SDR, 0.4, weights) == pytest.approx(expected)


def test_each_source_is_selected_by_itself():
    """Though the vocals have the higher scores throughout, the best drums are taken, too."""
    sources = np.array(["drums", "drums", "vocals", "vocals"])
    score = np.array([2.0, 1.0, 12.0, 11.0])
    found = selection_by_source(score, SDR, sources, 0.5, ONCE)
    assert found[0] == pytest.approx((1 + 3) / 2)


def test_a_source_that_a_resample_lacks_is_left_out():
    sources = np.array(["drums", "drums", "vocals", "vocals"])
    weights = np.array([[1.0, 1.0, 0.0, 0.0]])
    found = selection_by_source(SDR, SDR, sources, 0.5, weights)
    assert found[0] == pytest.approx(5)
