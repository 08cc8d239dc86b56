"""Rank correlations of weighted rows: Spearman's, partial, and within songs.

Weights are how often a row stands in a resample: the result is exactly that of a table in which
each row stands as often, ties and all, for thousands of resamples at once.
"""

from __future__ import annotations

import numpy as np

from mss.distill.quality.table import Floats, Names

LEAST_SEGMENTS = 3
"""Segments of one source of one song from which a correlation within it is taken."""


def weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """Return the ranks [R, n], from 1 and averaged over ties, of values [n] in each resample.

    Args:
        values: no NaN.
        weights: [R, n], how often each row stands in each resample.
    """
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(group.max() + 1))
    counts = np.add.reduceat(weights[:, order], first, axis=1)  # [R, groups]
    ranks = np.cumsum(counts, axis=1) - counts + (counts + 1) / 2
    return np.asarray(ranks[:, group], dtype=np.float64)


def correlation(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Return Pearson's correlation [R] of rows [R, n]; NaN where one of them is constant."""
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = first - (weights * first).sum(axis=1, keepdims=True) / total
        second = second - (weights * second).sum(axis=1, keepdims=True) / total
        covariance = (weights * first * second).sum(axis=1)
        variances = (weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1)
        # ranks are multiples of 1/2: below this nothing but rounding is left
        found = np.where(variances > 1e-9, covariance / np.sqrt(variances), np.nan)
    return np.asarray(np.clip(found, -1, 1), dtype=np.float64)


def spearman(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Return Spearman's rho [R] of values [n] and [n] in each resample."""
    if not len(first):
        return np.full(len(weights), np.nan)
    return correlation(weighted_ranks(first, weights), weighted_ranks(second, weights), weights)


def partial_spearman(first: Floats, second: Floats, given: Floats, weights: Floats) -> Floats:
    """Return the rank correlation [R] of two values [n] once `given` [n] is accounted for.

    (r_ab - r_ac r_bc) / sqrt((1 - r_ac^2) (1 - r_bc^2)), of the ranks; NaN where `given` orders the
    rows exactly as one of the two does.
    """
    if not len(first):
        return np.full(len(weights), np.nan)
    a, b, c = (weighted_ranks(values, weights) for values in (first, second, given))
    ab, ac, bc = (correlation(*pair, weights) for pair in ((a, b), (a, c), (b, c)))
    rest = (1 - ac**2) * (1 - bc**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(rest > 1e-9, (ab - ac * bc) / np.sqrt(rest), np.nan)
    return np.asarray(np.clip(found, -1, 1), dtype=np.float64)


def within_songs(score: Floats, sdr: Floats, tracks: Names, sources: Names) -> tuple[Floats, Names]:
    """Return Spearman's rho within each song [t], and the songs' names [t].

    In each song, the mean over its sources of the rho over the segments of that source. What tells
    songs or sources apart, but not the segments of one, has a rho of 0 here; so has a score that is
    the same in all of them, which orders nothing. A source with fewer than 3 segments in a song, or
    with the same SDR in all, is left out, and so are songs without any other.
    """
    cells: dict[str, list[float]] = {}
    for track, source in sorted({*zip(tracks.tolist(), sources.tolist(), strict=True)}):
        rows = (tracks == track) & (sources == source)
        if rows.sum() < LEAST_SEGMENTS or np.ptp(sdr[rows]) == 0:
            continue
        rho = float(spearman(score[rows], sdr[rows], np.ones((1, int(rows.sum()))))[0])
        cells.setdefault(track, []).append(0.0 if np.isnan(rho) else rho)
    means = np.array([np.mean(rhos) for rhos in cells.values()], dtype=np.float64)
    return means, np.array(list(cells), dtype=np.str_)
