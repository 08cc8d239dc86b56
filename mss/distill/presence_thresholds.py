"""From told levels to "this stem is silent": thresholds of a stated precision, and their scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mss.core.errors import ConfigError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Criterion:
    """What silent means, and how sure one has to be of it.

    Attributes:
        silence_db: a stem below this level, relative to the mixture's, is silent.
        precision: share of the excerpts called silent that are to be so.
        confidence: of the one-sided (Clopper-Pearson) interval whose lower end has to reach the
            precision; at 0.5 the precision that was seen itself has to, or nearly.
    """

    silence_db: Annotated[float, Field(lt=0, allow_inf_nan=False)] = -40.0
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.95
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95

    @property
    def fewest_calls(self) -> int:
        """Excerpts that have to be called silent, all of them rightly, for a threshold."""
        # lower end of the interval of n of n: (1 - confidence)^(1 / n)
        exact = math.log(1 - self.confidence) / math.log(self.precision)
        return math.ceil(exact - 1e-9)


@dataclass(frozen=True)
class SilenceScore:
    """How well the silence of a stem was found in excerpts.

    Attributes:
        excerpts: how many.
        silent: in how many of them the stem is silent.
        called: how many were called silent.
        right: how many of those rightly.
        auc: chance that a silent one is told a lower level than another one; None where all are
            silent, or none is.
    """

    excerpts: int
    silent: int
    called: int
    right: int
    auc: float | None

    @property
    def precision(self) -> float | None:
        """Share of those called silent that are; None: none was."""
        return self.right / self.called if self.called else None

    @property
    def recall(self) -> float | None:
        """Share of the silent ones that were called so; None: there is none."""
        return self.right / self.silent if self.silent else None


@dataclass(frozen=True)
class Threshold:
    """When a stem is called silent.

    Attributes:
        level: told level in dB at and below which it is; None: never, as no level is sure enough.
        lower: lower end of the interval of the precision there; None without a level.
        score: what it rests on, over the held-out excerpts.
    """

    level: float | None
    lower: float | None
    score: SilenceScore


def find_threshold(told: Floats, silent: Bools, criterion: Criterion) -> Threshold:
    """Return the threshold that finds the most silence at a precision that is high enough.

    It is the level of a silent excerpt: one that lies higher, up to the next that is not silent,
    finds no more. It is never above what counts as silent, however well the held-out songs would
    stand that. The interval takes excerpts for independent, which those of one song are not, and
    the threshold is the best of many: it wants many songs, and another split's score
    (`score_silence`) to confirm it.

    Args:
        told: levels [n] in dB.
        silent: [n], where the stem is.
        criterion: when is it sure enough.
    """
    from scipy import stats  # a second to import

    order = np.argsort(told, kind="stable")
    right = np.cumsum(silent[order])
    called = np.arange(1, len(told) + 1)
    # k of n: the (1 - confidence) quantile of Beta(k, n - k + 1); of none it is 0
    lower = np.where(
        right > 0,
        stats.beta.ppf(1 - criterion.confidence, np.maximum(right, 1), called - right + 1),
        0.0,
    )
    levels = told[order]
    last = np.flatnonzero(np.append(np.diff(levels) > 0, True))  # equal ones are called together
    finds_more = np.diff(right[last], prepend=0) > 0
    sure = lower[last] >= criterion.precision
    chosen = last[finds_more & sure & (levels[last] <= criterion.silence_db)]
    if not len(chosen):
        return Threshold(None, None, score_silence(told, silent, None))
    level = float(levels[chosen[-1]])
    return Threshold(level, float(lower[chosen[-1]]), score_silence(told, silent, level))


def score_silence(told: Floats, silent: Bools, level: float | None) -> SilenceScore:
    """Return how well a threshold finds silence.

    Args:
        told: levels [n] in dB.
        silent: [n], where the stem is.
        level: the threshold in dB; None: nothing is called silent.
    """
    called = np.zeros(len(told), dtype=np.bool_) if level is None else told <= level
    return SilenceScore(
        excerpts=len(told),
        silent=int(silent.sum()),
        called=int(called.sum()),
        right=int((called & silent).sum()),
        auc=_auc(told, silent),
    )


def _auc(told: Floats, silent: Bools) -> float | None:
    """Return P(told of a silent one < told of another), ties as a half (Mann and Whitney)."""
    from scipy import stats

    silents = int(silent.sum())
    others = len(silent) - silents
    if not silents or not others:
        return None
    ranks: Any = stats.rankdata(-told)
    above = float(ranks[silent].sum()) - silents * (silents + 1) / 2
    return above / (silents * others)


def check_criterion(criterion: Criterion, floor_db: float) -> None:
    """Raise a ConfigError where the net can't tell what counts as silent."""
    if criterion.silence_db <= floor_db:
        raise ConfigError(
            f"silence: {criterion.silence_db:g} dB is not above {floor_db:g} dB, below which levels"
            " are not told apart; give a level nearer to 0"
        )
