"""Does a score tell the true SDR? The protocol that may answer "no".

Labelled songs that neither the separator nor a regressor has seen; whole songs are drawn anew, so
that the segments of one do not count as independent; and the level of the estimate, which needs no
cleverness, has to be beaten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mss.core.errors import DataError
from mss.core.rng import numpy_generator
from mss.distill.quality.comparison import Comparison, ScoreResult, compare_score, oriented
from mss.distill.quality.control import Control, negative_control
from mss.distill.quality.regressor import RidgeRegressor, boosting, cross_fitted, fit_ridge, ridge
from mss.distill.quality.resampling import RESAMPLES
from mss.distill.quality.scores import ENERGY
from mss.distill.quality.table import Floats, SegmentTable, unique_in_order

RIDGE = "ridge"
BOOSTING = "boosting"
SHUFFLED = "shuffled"

LEAST_SONGS = 6
"""With fewer no claim is made: as in mss.eval.statistics, too few for any interval to be sure."""

ENOUGH_SONGS = 20
"""With fewer, intervals of a rho are wide: +-0.2 is usual."""

Answer = Literal["yes", "no", "too few songs", "baseline"]


@dataclass(frozen=True)
class Verdict:
    """Whether a score is shown to work, and the sentence that says why."""

    answer: Answer
    sentence: str


@dataclass(frozen=True)
class Calibration:
    """How near the ridge's expectation comes to the true SDR of songs that it was not fitted to.

    Attributes:
        error: mean |expected - true|, dB.
        constant: the same of each source's mean SDR over all songs, dB: it needs no score.
    """

    error: float
    constant: float


@dataclass(frozen=True)
class Validation:
    """What the protocol finds.

    Attributes:
        rows: labelled segments and sources.
        songs: that they are from.
        sdr: mean true SDR of each source, dB.
        results: of each score, the regressors and one shuffled score.
        verdicts: by score.
        control: the negative one.
        calibration: of the ridge; None where there is none.
        regressor: the ridge, fitted to all songs, for others.
    """

    rows: int
    songs: int
    sdr: Mapping[str, float]
    results: tuple[ScoreResult, ...]
    verdicts: Mapping[str, Verdict]
    control: Control
    calibration: Calibration | None
    regressor: RidgeRegressor | None

    @property
    def working(self) -> tuple[str, ...]:
        """The scores that are shown to work."""
        return tuple(name for name, verdict in self.verdicts.items() if verdict.answer == "yes")

    @property
    def conclusion(self) -> str:
        """What to make of it, in a sentence or two."""
        if math.isnan(self.control.mean):
            return "There is nothing to order: all segments have the same scores, or the same SDR."
        if not self.control.passed:
            return (
                "The negative control failed: shuffled scores seem to know something, so nothing"
                " here can be believed. Look for songs that stand in the data twice."
            )
        if self.songs < LEAST_SONGS:
            return (
                f"{self.songs} songs allow no claim, neither for nor against a score: take at least"
                f" {LEAST_SONGS}, better {ENOUGH_SONGS}."
            )
        if not self.working:
            return (
                "No score is shown to tell the quality of an estimate better than its level does."
                " That is a result: on data like these, no score should weight pseudo-labels."
            )
        return (
            f"Shown to tell more than the level of the estimate does: {', '.join(self.working)}."
            " Whether students gain from it is for the student's own SDR to say, against a random"
            " selection of the same size."
        )


def validate_scores(
    table: SegmentTable, resamples: int = RESAMPLES, seed: int = 0, regressors: bool = True
) -> Validation:
    """Run the whole protocol.

    Args:
        table: labelled segments with their scores, ENERGY among them.
        resamples: of the bootstrap.
        seed: of all draws.
        regressors: fit and judge them, too, where there are at least two songs.

    Raises:
        DataError: there is no labelled segment.
        ConfigError: scikit-learn is not installed.
    """
    if not len(table):
        raise DataError(
            "0 labelled segments: the sources are silent throughout the songs; take other songs or"
            " more of each"
        )
    songs = len(unique_in_order(table.tracks))
    calibration = None
    if regressors and songs > 1:
        scores_alone = table
        expected = cross_fitted(scores_alone, ridge)
        calibration = _calibration(table, expected)
        table = table.with_score(RIDGE, expected)
        table = table.with_score(BOOSTING, cross_fitted(scores_alone, boosting))
    fitted = fit_ridge(scores_alone) if calibration is not None else None

    strongest = RIDGE if calibration is not None else _most_varied(table)
    there = table.select(~np.isnan(table.scores[strongest]))
    control = negative_control(there, strongest, oriented(there, strongest), seed)
    shuffled = numpy_generator(seed, "quality", "shuffled").permutation(oriented(table, strongest))
    table = table.with_score(SHUFFLED, shuffled)

    results = tuple(compare_score(table, name, resamples, seed) for name in table.scores)
    return Validation(
        rows=len(table),
        songs=songs,
        sdr={
            source: float(table.sdr[table.sources == source].mean())
            for source in unique_in_order(table.sources)
        },
        results=results,
        verdicts={result.name: judge(result, control) for result in results},
        control=control,
        calibration=calibration,
        regressor=fitted,
    )


def judge(result: ScoreResult, control: Control) -> Verdict:
    """Return whether a score is shown to work.

    It is where, over all segments and within songs alike, the interval of its rho less that of the
    level lies above 0. Over all segments alone it may only know which song or source it hears.
    """
    name, pooled, within = result.name, result.pooled, result.within
    if name == ENERGY:
        return Verdict("baseline", f"{name}: the baseline, rho {pooled.rho}.")
    if math.isnan(pooled.rho.value):
        return Verdict("no", f"{name}: no. It is the same, or not defined, everywhere.")
    facts = f"rho {pooled.rho}, {_versus(pooled)}; within songs {within.rho},"
    facts += f" {_versus(within)}"
    if not control.passed:
        return Verdict("no", f"{name}: no. The negative control failed ({facts}).")
    if pooled.songs < LEAST_SONGS:
        few = f"{pooled.songs} songs, and a claim takes {LEAST_SONGS}"
        return Verdict("too few songs", f"{name}: too few songs to tell. {few} ({facts}).")
    over_all, inside = pooled.gain.above_zero, within.gain.above_zero
    if over_all and inside:
        return Verdict("yes", f"{name}: yes. It tells more than the level does: {facts}.")
    if over_all:
        why = "It tells songs or sources apart, but not the segments of one"
    elif inside:
        why = "It orders the segments of a song, but its values mean something else in another"
    else:
        why = "It is not shown to tell more than the level does"
    return Verdict("no", f"{name}: no. {why}: {facts}.")


def _versus(comparison: Comparison) -> str:
    """Return "gain 0.10 [0.02, 0.18] over the level's 0.40"."""
    return f"gain {comparison.gain} over the level's {comparison.energy:.2f}"


def _calibration(table: SegmentTable, expected: Floats) -> Calibration:
    constant = np.empty(len(table))
    for source in unique_in_order(table.sources):
        rows = table.sources == source
        constant[rows] = table.sdr[rows].mean()
    return Calibration(
        error=float(np.abs(expected - table.sdr).mean()),
        constant=float(np.abs(constant - table.sdr).mean()),
    )


def _most_varied(table: SegmentTable) -> str:
    """Return the score that has the most different values."""
    return max(table.scores, key=lambda name: len(np.unique(table.scores[name])))
