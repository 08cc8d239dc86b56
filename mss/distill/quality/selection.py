"""What is gained by taking the segments that a score likes best."""

from __future__ import annotations

import numpy as np

from mss.distill.quality.table import Floats, Names


def selected_mean(score: Floats, sdr: Floats, share: float, weights: Floats) -> Floats:
    """Return the mean true SDR [R] of the `share` of rows with the highest score.

    Ties at the border count in part, so that a score which is the same everywhere gives the mean of
    all rows: that of a random choice.

    Args:
        score: [n], higher is better; no NaN.
        sdr: [n], dB.
        share: in (0, 1].
        weights: [R, n], how often each row stands in each resample.
    """
    _, group = np.unique(-score, return_inverse=True)  # the best first
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(group.max() + 1))
    counts = np.add.reduceat(weights[:, order], first, axis=1)  # [R, groups]
    sums = np.add.reduceat((weights * sdr)[:, order], first, axis=1)
    wanted = share * weights.sum(axis=1, keepdims=True)
    before = np.cumsum(counts, axis=1) - counts
    taken = np.clip(wanted - before, 0, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(counts > 0, sums / counts, 0.0)
        return np.asarray((taken * means).sum(axis=1) / wanted[:, 0], dtype=np.float64)


def selection_by_source(
    score: Floats, sdr: Floats, sources: Names, share: float, weights: Floats
) -> Floats:
    """Return the mean over sources of `selected_mean` [R]: each source is selected by itself.

    A source that a resample lacks is left out of its mean.

    Args:
        score, sdr, share, weights: see selected_mean.
        sources: [n], name of each row's source.
    """
    means = np.stack(
        [
            selected_mean(score[rows], sdr[rows], share, weights[:, rows])
            for rows in (sources == source for source in np.unique(sources))
        ]
    )  # [S, R]
    known = ~np.isnan(means)
    with np.errstate(invalid="ignore"):
        found = np.where(known, means, 0).sum(axis=0) / known.sum(axis=0)
    return np.asarray(found, dtype=np.float64)
