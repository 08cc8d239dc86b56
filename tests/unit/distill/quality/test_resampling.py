"""The bootstrap of songs: against loops, and how often its interval holds the truth."""

import numpy as np
import pytest
from scipy import stats

from mss.core.rng import numpy_generator
from mss.distill.quality.ranks import spearman
from mss.distill.quality.resampling import Estimated, estimate, tail_share


def test_against_drawing_songs_by_loops(make_table):
    table = make_table(songs=8)
    score, sdr = table.scores["agreement"], table.sdr
    found = estimate(lambda w: spearman(score, sdr, w), table.tracks, resamples=199, seed=3)

    names = np.unique(table.tracks)
    counts = numpy_generator(3, "quality", "bootstrap", 8).multinomial(8, [1 / 8] * 8, size=199)
    rhos = []
    for drawn in counts:
        rows = np.concatenate(
            [np.flatnonzero(table.tracks == name) for name in np.repeat(names, drawn)]
        )
        rhos.append(stats.spearmanr(score[rows], sdr[rows]).statistic)
    assert found.value == pytest.approx(stats.spearmanr(score, sdr).statistic)
    ends = np.quantile(rhos, [tail_share(8), 1 - tail_share(8)])
    assert (found.low, found.high) == pytest.approx(tuple(ends))


def test_the_interval_of_a_mean_is_about_students():
    """Hesterberg's expansion is made for this: compare the half width with t s / sqrt(n)."""
    values = np.random.default_rng(0).standard_normal(12)
    songs = np.array([f"{index:02d}" for index in range(12)])
    found = estimate(lambda w: w @ values / w.sum(axis=1), songs, resamples=4999)
    half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_segments_of_a_song_are_not_independent():
    """Ten equal segments a song: the interval is that of the songs, not three times narrower."""
    values = np.random.default_rng(0).standard_normal(12)
    songs = np.array([f"{index:02d}" for index in range(12)])
    once = estimate(lambda w: w @ values / w.sum(axis=1), songs)
    tenfold = np.repeat(values, 10)
    often = estimate(lambda w: w @ tenfold / w.sum(axis=1), np.repeat(songs, 10))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(("songs", "least"), [(6, 0.9), (20, 0.91)])
def test_the_interval_of_a_rho_holds_the_truth(songs, least):
    """Scores and SDR of correlated songs; the true rho is that of a very large table."""

    def draw(rng, count):
        of_song = rng.standard_normal((count, 1, 2)) @ np.array([[1, 0.5], [0, 0.8]])
        rows = of_song + rng.standard_normal((count, 6, 2)) @ np.array([[1, 0.6], [0, 0.8]])
        return rows.reshape(-1, 2).T

    score, sdr = draw(np.random.default_rng(0), 30_000)
    truth = stats.spearmanr(score, sdr).statistic
    tracks = np.repeat([f"{index:02d}" for index in range(songs)], 6)
    held = 0
    for seed in range(100):
        score, sdr = draw(np.random.default_rng(seed + 1), songs)
        found = estimate(
            lambda w, score=score, sdr=sdr: spearman(score, sdr, w), tracks, resamples=199
        )
        held += found.low <= truth <= found.high
    assert held / 100 >= least


def test_few_songs_have_no_interval(make_table):
    table = make_table(songs=2)
    found = estimate(lambda w: spearman(table.sdr, table.sdr, w), table.tracks)
    assert found.value == 1 and np.isnan(found.low)
    assert not found.above_zero and not found.holds_zero
    assert str(found) == "1.00"


def test_what_an_interval_says():
    assert Estimated(0.5, 0.1, 0.9).above_zero and not Estimated(0.5, 0.0, 0.9).above_zero
    assert Estimated(0.5, -0.1, 0.9).holds_zero and not Estimated(-0.5, -0.9, -0.1).holds_zero
    assert str(Estimated(0.5, -0.1, 0.9)) == "0.50 [-0.10, 0.90]"
    assert str(Estimated(float("nan"))) == "-"
