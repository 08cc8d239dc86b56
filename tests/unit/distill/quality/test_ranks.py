"""Rank correlations against scipy, and weights against rows that really stand several times."""

import numpy as np
import pytest
from scipy import stats

from mss.distill.quality.ranks import (
    partial_spearman,
    spearman,
    weighted_ranks,
    within_songs,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal(50).round(1)  # with ties
Y = (X + RNG.standard_normal(50)).round(1)
Z = (X - Y + RNG.standard_normal(50)).round(1)
ONCE = np.ones((1, 50))


def test_spearman_is_scipys():
    assert spearman(X, Y, ONCE)[0] == pytest.approx(stats.spearmanr(X, Y).statistic)
    np.testing.assert_allclose(weighted_ranks(X, ONCE)[0], stats.rankdata(X))


def test_a_weight_is_how_often_a_row_stands_in_the_table():
    counts = RNG.integers(0, 4, size=(7, 50))
    found = spearman(X, Y, counts.astype(float))
    for row, rho in zip(counts, found, strict=True):
        again = np.repeat(np.arange(50), row)
        assert rho == pytest.approx(stats.spearmanr(X[again], Y[again]).statistic)


def test_partial_spearman_is_the_correlation_of_what_a_regression_leaves():
    """The same by another way: residuals of the ranks after a linear fit to the ranks given."""
    ranks = [stats.rankdata(values) for values in (X, Y, Z)]
    rests = []
    for values in ranks[:2]:
        slope, intercept = np.polyfit(ranks[2], values, 1)
        rests.append(values - slope * ranks[2] - intercept)
    expected = np.corrcoef(*rests)[0, 1]
    assert partial_spearman(X, Y, Z, ONCE)[0] == pytest.approx(expected)


def test_what_orders_nothing_has_no_rho():
    assert np.isnan(spearman(np.ones(50), Y, ONCE)[0])
    assert np.isnan(partial_spearman(X, Y, X, ONCE)[0])
    assert np.isnan(spearman(X[:0], Y[:0], ONCE[:, :0])[0])


def test_within_songs_what_only_tells_songs_apart_is_nothing():
    tracks = np.repeat(["a", "b", "c"], 8)
    sources = np.tile(["drums", "vocals"], 12)
    own = np.random.default_rng(1).standard_normal(24)
    sdr = own + np.repeat([0.0, 100.0, 200.0], 8)
    of_song = np.repeat([1.0, 2.0, 3.0], 8)
    assert spearman(of_song, sdr, np.ones((1, 24)))[0] > 0.9
    rhos, songs = within_songs(of_song, sdr, tracks, sources)
    assert (rhos.tolist(), songs.tolist()) == ([0, 0, 0], ["a", "b", "c"])
    rhos, _ = within_songs(sdr, sdr, tracks, sources)
    assert rhos.tolist() == pytest.approx([1, 1, 1])


def test_within_songs_is_the_mean_over_sources():
    tracks = np.repeat(["a"], 8)
    sources = np.tile(["drums", "vocals"], 4)
    sdr = np.array([1, 1, 2, 2, 3, 3, 4, 4.0])
    score = np.where(sources == "drums", sdr, np.array([1, 2, 1, 1, 1, 4, 1, 3.0]))
    expected = (1 + stats.spearmanr([1, 2, 3, 4], [2, 1, 4, 3]).statistic) / 2
    assert within_songs(score, sdr, tracks, sources)[0].item() == pytest.approx(expected)


def test_songs_with_too_few_segments_are_left_out():
    tracks = np.array(["a", "a", "b", "b", "b"])
    rhos, songs = within_songs(np.arange(5.0), np.arange(5.0), tracks, np.repeat(["drums"], 5))
    assert (rhos.tolist(), songs.tolist()) == ([1], ["b"])
