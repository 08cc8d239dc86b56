"""Weights of pseudo-labels."""

import numpy as np

from mss.distill.quality.weight import weight


def test_weights_rise_from_3_to_9_decibels():
    found = weight([-20, 3, 4.5, 6, 9, 30, np.nan])
    assert found.tolist() == [0, 0, 0.25, 0.5, 1, 1, 0]


def test_each_source_and_segment_has_its_own():
    assert weight(np.array([[3.0, 9.0], [6.0, 0.0]])).tolist() == [[0, 1], [0.5, 0]]
    assert weight(5.0, low=0, high=10) == 0.5
