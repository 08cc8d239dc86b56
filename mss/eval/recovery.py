"""How much of what a fault cost a remedy gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mss.core.errors import DataError
from mss.eval.candidates import Candidate, shared_sources, song_score
from mss.eval.statistics import LEVEL, RESAMPLES, TIE, Interval, paired_statistics


@dataclass(frozen=True)
class Recovery:
    """A remedy's share of a loss.

    Attributes:
        songs: that were compared.
        lost: what the fault cost, mean over songs, in the measure's unit; positive where it harmed.
        share: that came back, 1: everything; None where it is not certain that anything was lost.
        interval: of the share, over other songs of the same kind.
    """

    songs: int
    lost: float
    share: float | None
    interval: Interval | None


def recovery(unharmed: Candidate, harmed: Candidate, remedied: Candidate, id: str) -> Recovery:
    """Return which share of the loss from `unharmed` to `harmed` is made good by `remedied`.

    A song's score is the mean over the sources that all runs define, and over seeds. The share is
    the ratio of two means over songs; its interval is the bootstrap's (BCa: Efron, JASA 82, 1987),
    which draws songs with all three of their scores.

    Args:
        unharmed, harmed, remedied: configurations.
        id: of the protocol.

    Raises:
        DataError: there is no song that all have scores of.
    """
    systems = [[seed[id] for seed in c.seeds] for c in (unharmed, harmed, remedied)]
    tables = [table.scores for system in systems for table in system]
    songs = {song: shared_sources(tables, song) for song in tables[0]}
    scores = np.array(
        [[song_score(s, song, known) for song, known in songs.items() if known] for s in systems]
    )
    if not scores.size:
        raise DataError(
            f"{id}: there is no song that {unharmed.name} and the others have scores of"
        )
    better = systems[0][0].measure.higher_is_better
    clean, noisy, mended = scores if better else -scores
    loss = paired_statistics(clean, noisy, higher_is_better=True)
    lost = float((clean - noisy).mean())
    if loss.verdict != "better":
        return Recovery(len(clean), lost, None, None)
    share = float((mended - noisy).mean()) / lost
    return Recovery(len(clean), lost, share, _interval(clean - noisy, mended - noisy))


def _interval(lost: NDArray[np.float64], regained: NDArray[np.float64]) -> Interval:
    from scipy import stats  # a second to import, for tables alone

    mean = regained.mean() / lost.mean()
    if np.ptp(regained - mean * lost) <= TIE:  # the same share in every song
        return Interval(float(mean), float(mean))

    def share(lost: NDArray[np.float64], regained: NDArray[np.float64], axis: int) -> object:
        return regained.mean(axis=axis) / lost.mean(axis=axis)

    found = stats.bootstrap(
        (lost, regained),
        share,
        paired=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))
