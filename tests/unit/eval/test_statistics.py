"""Paired statistics against known truths, arithmetic by hand and a second implementation."""

import math

import numpy as np
import pytest

from mss.eval.statistics import (
    MIN_SONGS,
    bootstrap_interval,
    order_statistic_interval,
    paired_statistics,
)

# Differences of songs: draws of mean 0, and their median. The skewness of the last three is 1, 1.75
# and 2.
DRAWS = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 0.0),
    "laplace": (lambda rng, shape: rng.laplace(size=shape), 0.0),
    "gamma": (lambda rng, shape: rng.gamma(4, size=shape) - 4, 3.672060749 - 4),
    "lognormal": (
        lambda rng, shape: rng.lognormal(0, 0.5, shape) - math.exp(0.125),
        1 - math.exp(0.125),
    ),
    "exponential": (lambda rng, shape: rng.exponential(size=shape) - 1, math.log(2) - 1),
}
SIMULATIONS = 4000


def simulate(kind, songs, difference=0.3):
    """Return simulated differences [simulations, songs], their true mean and true median."""
    draw, median = DRAWS[kind]
    values = draw(np.random.default_rng(songs), (SIMULATIONS, songs))
    return values + difference, difference, median + difference


def bootstrap(differences):
    """Return the intervals; in parts that fit into a cache, each with draws of its own."""
    parts = np.split(differences, SIMULATIONS // 100)
    ends = [bootstrap_interval(part, 999, seed) for seed, part in enumerate(parts)]
    return np.concatenate(ends, axis=-1)


def held(ends, truth):
    """Return the share of intervals that hold the truth."""
    low, high = ends
    return ((low <= truth) & (truth <= high)).mean()


@pytest.mark.parametrize("songs", [8, 20, 50])
@pytest.mark.parametrize("kind", DRAWS)
def test_the_interval_of_the_mean_holds_the_truth(kind, songs):
    differences, mean, _ = simulate(kind, songs)
    assert 0.93 <= held(bootstrap(differences), mean) <= 0.97


def test_extreme_skewness_holds_less_as_the_docstring_says():
    differences = np.random.default_rng(0).lognormal(0, 1, (SIMULATIONS, 8))
    assert 0.87 <= held(bootstrap(differences), math.exp(0.5)) <= 0.91


@pytest.mark.parametrize("songs", [MIN_SONGS, 8, 20, 50])
@pytest.mark.parametrize("kind", DRAWS)
def test_the_interval_of_the_median_holds_the_truth(kind, songs):
    differences, _, median = simulate(kind, songs)
    assert 0.93 <= held(order_statistic_interval(differences), median) <= 0.97


def test_a_percentile_interval_would_not_do():
    """What the studentised bootstrap is for: the test above tells the two apart."""
    differences, mean, _ = simulate("normal", 8)
    rng = np.random.default_rng(0)
    drawn = rng.integers(8, size=(999, 8))
    means = differences[:1000, drawn].mean(axis=-1)
    assert held(np.quantile(means, [0.025, 0.975], axis=-1), mean) < 0.91


def test_the_bootstrap_against_resampling_by_loops():
    differences = np.random.default_rng(3).gamma(2, size=12)
    mean, error = differences.mean(), differences.std(ddof=1) / math.sqrt(12)
    rng = np.random.default_rng(4)
    t = []
    for _ in range(20000):
        resample = rng.choice(differences, 12)
        t.append((resample.mean() - mean) / (resample.std(ddof=1) / math.sqrt(12)))
    tails = np.quantile(t, [0.975, 0.025])
    equal_tailed = mean - error * tails
    both = error * np.quantile(np.abs(t), 0.95)
    expected = (equal_tailed + np.array([mean - both, mean + both])) / 2
    low, high = bootstrap_interval(differences)
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=0.03 * width)
    assert high == pytest.approx(expected[1], abs=0.03 * width)
    assert high - mean > 1.1 * (mean - low)  # a long upper tail may hide a higher mean


def test_the_bootstrap_follows_level_unit_and_sign():
    differences = np.random.default_rng(3).gamma(2, size=(2, 12))
    low, high = bootstrap_interval(differences)
    moved_low, moved_high = bootstrap_interval(5 + 1e-9 * differences)
    np.testing.assert_allclose(moved_low, 5 + 1e-9 * low, rtol=1e-14)
    np.testing.assert_allclose(moved_high, 5 + 1e-9 * high, rtol=1e-14)
    mirrored_low, mirrored_high = bootstrap_interval(-differences)
    np.testing.assert_allclose(mirrored_low, -high, rtol=1e-12)
    np.testing.assert_allclose(mirrored_high, -low, rtol=1e-12)


def test_rows_are_independent_and_repeatable():
    differences = np.random.default_rng(3).normal(size=(5, 9))
    together = bootstrap_interval(differences)
    alone = bootstrap_interval(differences[2])
    np.testing.assert_allclose(np.stack(together)[:, 2], np.stack(alone), rtol=1e-12)
    np.testing.assert_array_equal(bootstrap_interval(differences), together)
    assert not np.array_equal(bootstrap_interval(differences, seed=1), together)


def test_a_single_other_value_has_no_bootstrap_interval():
    # a third of all resamples miss the last song: no spread, t is infinite
    low, high = bootstrap_interval(np.array([0.0] * 9 + [1.0]))
    assert np.isnan(low)
    assert np.isnan(high)


def test_the_median_interval_by_hand():
    # n = 8: P(Bin < 1) = 1/256, P(Bin < 2) = 9/256: 254/256 between the ends, 238/256 one inwards
    share = (254 / 256 - 0.95) / (16 / 256)
    inward = 7 * share / (1 + 6 * share)
    low, high = order_statistic_interval(np.array([8.0, 1, 2, 3, 4, 5, 6, 7]))
    assert low == pytest.approx(1 + inward, abs=1e-12)
    assert high == pytest.approx(8 - inward, abs=1e-12)


def test_statistics_by_hand():
    scores = [5.0, 7.0, 3.0, 4.0, 10.0, 6.0, 2.0, 9.0]
    reference = [4.0, 5.0, 3.0, 4.5, 7.0, 4.0, 1.0, 5.0]  # +1 +2 0 -0.5 +3 +2 +1 +4
    found = paired_statistics(scores, reference, higher_is_better=True)
    assert found.differences == (1.0, 2.0, 0.0, -0.5, 3.0, 2.0, 1.0, 4.0)
    assert (found.mean, found.median) == (12.5 / 8, 1.5)
    assert (found.won, found.lost, found.tied, found.songs) == (6, 1, 1, 8)
    assert found.verdict == "better"
    assert found.interval is not None
    assert 0 < found.interval.low < 12.5 / 8 < found.interval.high

    lower = paired_statistics(scores, reference, higher_is_better=False)
    assert (lower.won, lower.lost, lower.verdict) == (1, 6, "worse")
    assert lower.interval == found.interval
    swapped = paired_statistics(reference, scores, higher_is_better=True)
    assert (swapped.won, swapped.lost, swapped.verdict) == (1, 6, "worse")
    assert swapped.p_value == found.p_value


def test_wilcoxon_by_hand():
    # of the 64 assignments of signs, the two most extreme
    found = paired_statistics([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0] * 6, True)
    assert found.p_value == pytest.approx(2 / 64)


def test_an_interval_that_holds_zero_is_not_distinguishable():
    found = paired_statistics([1.0, -1.0, 2.0, -2.0, 0.5, -0.4, 0.3], [0.0] * 7, True)
    assert found.interval is not None
    assert 0 in found.interval
    assert found.verdict == "not distinguishable"


def test_noise_alone_is_rarely_told_apart():
    rng = np.random.default_rng(0)
    scores = rng.normal(7, 3, size=(200, 20))
    pairs = ((row, row + rng.normal(0, 0.3, 20)) for row in scores)
    told = [paired_statistics(a, b, True).verdict != "not distinguishable" for a, b in pairs]
    assert 2 <= sum(told) <= 20  # 10 of 200 are expected


@pytest.mark.parametrize("songs", [1, 2, 5])
def test_few_songs_have_numbers_but_no_verdict(songs):
    found = paired_statistics(np.arange(1.0, songs + 1), np.zeros(songs), True)
    assert found.mean == found.median == (songs + 1) / 2
    assert (found.interval, found.median_interval) == (None, None)
    assert (found.won, found.verdict) == (songs, "too few songs")
    assert found.p_value == pytest.approx(2 / 2**songs)


def test_equal_scores_are_no_difference():
    found = paired_statistics([1.0, math.inf, 3.0], [1.0, math.inf, 3.0 + 1e-14], True)
    assert found.differences == (0.0, 0.0, 0.0)
    assert (found.tied, found.p_value, found.verdict) == (3, None, "same in every song")


def test_rounding_is_no_difference():
    """Eight songs of one model, with other batches of chunks: all a little lower."""
    scores = np.random.default_rng(0).normal(5, 3, size=8)
    for higher in (True, False):
        found = paired_statistics(scores - 4.5e-8 * np.linspace(0.5, 1, 8), scores, higher)
        assert (found.won, found.lost, found.tied) == (0, 0, 8)
        assert (found.mean, found.p_value, found.verdict) == (0.0, None, "same in every song")
    assert paired_statistics(scores - 0.9e-4, scores, True).tied == 8
    assert paired_statistics(scores - 1.1e-4, scores, True).verdict == "worse"


def test_the_same_difference_in_every_song():
    scores = np.random.default_rng(0).normal(5, 3, size=9)
    found = paired_statistics(scores + 0.1, scores, True)
    assert found.interval is not None
    assert found.interval.low == found.interval.high == pytest.approx(0.1)
    assert (found.won, found.verdict) == (9, "better")


def test_perfect_estimates_leave_the_median():
    scores = [math.inf, 3.0, 4.0, 5.0, 6.5, 7.0, 8.0, 9.5]
    found = paired_statistics(scores, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], True)
    assert (found.mean, found.interval, found.infinite) == (None, None, 1)
    assert found.median == 1.0
    assert found.median_interval is not None
    assert found.median_interval.low == 1.0
    assert found.median_interval.high == math.inf
    assert (found.won, found.verdict) == (8, "better")
    assert found.p_value == pytest.approx(2 / 2**8)


def test_infinities_of_both_signs_have_no_median():
    found = paired_statistics([math.inf] * 4 + [0.0] * 4, [0.0] * 4 + [math.inf] * 4, True)
    assert found.median is None
    assert found.median_interval is not None
    assert (found.median_interval.low, found.median_interval.high) == (-math.inf, math.inf)
    assert found.verdict == "not distinguishable"


def test_mostly_ties_rest_on_the_median():
    found = paired_statistics([0.0] * 9 + [1.0], [0.0] * 10, True)
    assert found.mean == pytest.approx(0.1)
    assert found.interval is None
    assert found.verdict == "not distinguishable"
