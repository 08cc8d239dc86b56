"""The negative control: scores that are shuffled know nothing, and the protocol has to say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mss.core.rng import numpy_generator
from mss.distill.quality.ranks import correlation, spearman, weighted_ranks
from mss.distill.quality.resampling import LEVEL, estimate
from mss.distill.quality.table import Floats, SegmentTable

SHUFFLES = 200
_INTERVALS = 40
_RESAMPLES = 499
_LEAST_HELD = 0.8
"""Of 40 intervals of 95 %, 38 should hold 0; by chance fewer than 32 do once in ten thousand."""


@dataclass(frozen=True)
class Control:
    """What shuffled scores give.

    Attributes:
        score: which one was shuffled.
        mean: rho over the shuffles, pooled; NaN where score or SDR is the same everywhere.
        low, high: between which 95 % of the shuffles' rho lie: what chance alone can give.
        intervals: of how many shuffles the bootstrap's interval was taken.
        held: in how many of these 0 lay; 0 with too few songs for an interval.
        within_source: mean rho, pooled, where values are shuffled among the segments of a source
            only: what of the score's own rho only says which source it is.
    """

    score: str
    mean: float
    low: float
    high: float
    intervals: int
    held: int
    within_source: float

    @property
    def passed(self) -> bool:
        """Whether the protocol finds nothing where there is nothing."""
        return self.low <= 0 <= self.high and (
            not self.intervals or self.held >= _LEAST_HELD * self.intervals
        )


def negative_control(table: SegmentTable, name: str, score: Floats, seed: int = 0) -> Control:
    """Shuffle a score over all rows, and pass it through the same statistics.

    It is shuffled over songs, sources and segments at once. Shuffled within songs or within sources
    it would still know which song or source it is of, and that has a rho of its own.

    Args:
        table: labelled segments in which the score is defined.
        name: of the score.
        score: [n].
        seed: of the shuffles.
    """
    generator = numpy_generator(seed, "quality", "control")
    once = np.ones((1, len(table)))
    sdr, ranks = weighted_ranks(table.sdr, once), weighted_ranks(score, once)
    groups = [np.flatnonzero(table.sources == source) for source in np.unique(table.sources)]
    everywhere, inside = [], []
    for _ in range(SHUFFLES):
        everywhere.append(correlation(generator.permuted(ranks, axis=1), sdr, once)[0])
        by_source = ranks.copy()
        for rows in groups:
            by_source[0, rows] = generator.permutation(ranks[0, rows])
        inside.append(correlation(by_source, sdr, once)[0])
    intervals = []
    for _ in range(_INTERVALS):
        shuffled = generator.permutation(score)
        found = estimate(
            lambda w, values=shuffled: spearman(values, table.sdr, w),  # type: ignore[misc]
            table.tracks,
            _RESAMPLES,
        )
        if not np.isnan(found.low):
            intervals.append(found.holds_zero)
    low, high = np.quantile(everywhere, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Control(
        score=name,
        mean=float(np.mean(everywhere)),
        low=float(low),
        high=float(high),
        intervals=len(intervals),
        held=sum(intervals),
        within_source=float(np.mean(inside)),
    )
