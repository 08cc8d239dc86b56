"""Intervals that allow for songs: whole songs are drawn anew, with all their segments.

The segments of a song are much alike, so that an interval which took each for an observation of its
own would be far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mss.core.rng import numpy_generator
from mss.distill.quality.table import Floats, Names

LEVEL = 0.95
RESAMPLES = 1999
LEAST_SONGS = 3
"""With fewer there is no interval at all."""
_BLOCK = 4_000_000
"""Weights (resamples times rows) that are worked on at a time."""

Statistic = Callable[[Floats], Floats]
"""Weights of rows [R, n] -> a value of each resample [R]; NaN where it has none."""


@dataclass(frozen=True)
class Estimated:
    """A statistic and its 95 % interval, ends included.

    Attributes:
        value: of the data as it is; NaN where it is not defined.
        low, high: NaN where there is no interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        """Return "0.62 [0.50, 0.71]", or what there is of it."""
        if math.isnan(self.value):
            return "-"
        interval = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low > 0

    @property
    def holds_zero(self) -> bool:
        """Whether 0 lies in the interval."""
        return self.low <= 0 <= self.high


def estimate(
    statistic: Statistic, tracks: Names, resamples: int = RESAMPLES, seed: int = 0
) -> Estimated:
    """Return a statistic with its interval from a bootstrap of songs.

    The expanded percentile interval (Hesterberg, What teachers should know about the bootstrap, The
    American Statistician 69, 2015): the plain percentile interval is too narrow with few songs, by
    sqrt((n - 1) / n) and for want of Student's t, so its percentiles are moved outwards to
    Phi(-+sqrt(n / (n - 1)) t). Resamples in which the statistic is not defined are left out; with
    less than a half of them left, or fewer than 3 songs, there is no interval.

    Args:
        statistic: see Statistic.
        tracks: [n], the song of each row.
        resamples: R.
        seed: of the draws; the same draws for every statistic of the same rows.
    """
    names, song_of_row = np.unique(tracks, return_inverse=True)
    value = float(statistic(np.ones((1, len(tracks))))[0]) if len(tracks) else math.nan
    songs = len(names)
    if songs < LEAST_SONGS or math.isnan(value):
        return Estimated(value)
    drawn = np.concatenate(
        [
            statistic(counts[:, song_of_row])
            for counts in _draws(songs, len(tracks), resamples, seed)
        ]
    )
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < resamples / 2:
        return Estimated(value)
    tail = tail_share(songs)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimated(value, float(low), float(high))


def tail_share(songs: int) -> float:
    """Return the share of resamples beyond either end of the interval."""
    from scipy import stats  # a second to import, for reports alone

    t = float(stats.t.ppf((1 + LEVEL) / 2, songs - 1))
    return NormalDist().cdf(-math.sqrt(songs / (songs - 1)) * t)


def _draws(songs: int, rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each song is drawn [r, songs], for some resamples at a time."""
    generator = numpy_generator(seed, "quality", "bootstrap", songs)
    left = resamples
    while left:
        count = min(left, max(1, _BLOCK // rows))
        yield generator.multinomial(songs, [1 / songs] * songs, size=count).astype(np.float64)
        left -= count
