"""One score against the truth, and against the level of the estimate: where, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mss.distill.quality.ranks import partial_spearman, spearman, within_songs
from mss.distill.quality.resampling import Estimated, estimate
from mss.distill.quality.scores import ENERGY, SCORES
from mss.distill.quality.selection import selection_by_source
from mss.distill.quality.table import Floats, SegmentTable, unique_in_order

SHARES = (0.25, 0.5)
"""Of the segments of each source that are selected."""


@dataclass(frozen=True)
class Comparison:
    """How well a score orders segments, beside how well their level does.

    Attributes:
        rho: Spearman's, of score (higher is better) and true SDR.
        energy: rho of the level of the estimate on the same rows, whichever way it points: the sign
            is the baseline's to choose, so that a score can't win by a level that misleads.
        gain: rho - energy.
        rows: segments and sources that count.
        songs: that they are from.
    """

    rho: Estimated
    energy: float
    gain: Estimated
    rows: int
    songs: int


@dataclass(frozen=True)
class Selection:
    """What selecting a share of the segments of each source gives, in dB of mean true SDR.

    Attributes:
        share: that is selected.
        mean: by the score.
        gain: mean - random.
        random: by chance: the mean of all.
        energy: by the level of the estimate, the louder first.
        oracle: by the true SDR itself.
    """

    share: float
    mean: float
    gain: Estimated
    random: float
    energy: float
    oracle: float


@dataclass(frozen=True)
class ScoreResult:
    """What is found about one score.

    Attributes:
        name: of the score.
        pooled: over all segments, sources and songs.
        within: within songs and sources (see ranks.within_songs).
        sources: over the segments of each source.
        partial: pooled, given the level of the estimate.
        selections: one for each of SHARES.
        undefined: rows in which the score is not defined; they are left out of all of these.
    """

    name: str
    pooled: Comparison
    within: Comparison
    sources: Mapping[str, Comparison]
    partial: Estimated
    selections: tuple[Selection, ...]
    undefined: int


def compare_score(table: SegmentTable, name: str, resamples: int, seed: int = 0) -> ScoreResult:
    """Return what the table says about one of its scores; ENERGY has to be another.

    Args:
        table: labelled segments.
        name: of the score; one that SCORES does not know is better when it is higher.
        resamples: of the bootstrap.
        seed: of its draws.
    """
    defined = ~np.isnan(table.scores[name]) & ~np.isnan(table.scores[ENERGY])
    rows = table.select(defined)
    score, level = oriented(rows, name), rows.scores[ENERGY]
    sources = {}
    for source in unique_in_order(table.sources):
        mine = rows.sources == source
        sources[source] = _over_rows(rows.select(mine), score[mine], resamples, seed)
    return ScoreResult(
        name=name,
        pooled=_over_rows(rows, score, resamples, seed),
        within=_within(rows, score, resamples, seed),
        sources=sources,
        partial=estimate(
            lambda weights: partial_spearman(score, rows.sdr, level, weights),
            rows.tracks,
            resamples,
            seed,
        ),
        selections=tuple(_select(rows, score, share, resamples, seed) for share in SHARES),
        undefined=int((~defined).sum()),
    )


def oriented(table: SegmentTable, name: str) -> Floats:
    """Return a score [n], turned so that higher is better."""
    values = table.scores[name]
    return values * SCORES[name].sign if name in SCORES else values


def _over_rows(rows: SegmentTable, score: Floats, resamples: int, seed: int) -> Comparison:
    """Compare over rows that all count alike."""
    level, sdr = rows.scores[ENERGY], rows.sdr
    songs = len(unique_in_order(rows.tracks))
    energy = float(spearman(level, sdr, np.ones((1, len(rows))))[0])
    sign = -1.0 if energy < 0 else 1.0
    return Comparison(
        rho=estimate(lambda w: spearman(score, sdr, w), rows.tracks, resamples, seed),
        energy=abs(energy),
        gain=estimate(
            lambda w: spearman(score, sdr, w) - sign * spearman(level, sdr, w),
            rows.tracks,
            resamples,
            seed,
        ),
        rows=len(rows),
        songs=songs,
    )


def _within(rows: SegmentTable, score: Floats, resamples: int, seed: int) -> Comparison:
    """Compare within songs, each of which counts once."""
    rhos, songs = within_songs(score, rows.sdr, rows.tracks, rows.sources)  # [t]
    levels, _ = within_songs(rows.scores[ENERGY], rows.sdr, rows.tracks, rows.sources)
    energy = float(levels.mean()) if len(levels) else float("nan")
    gains = rhos - (-levels if energy < 0 else levels)

    def mean(values: Floats, weights: Floats) -> Floats:
        return np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)

    return Comparison(
        rho=estimate(lambda w: mean(rhos, w), songs, resamples, seed),
        energy=abs(energy),
        gain=estimate(lambda w: mean(gains, w), songs, resamples, seed),
        rows=len(rows),
        songs=len(songs),
    )


def _select(
    rows: SegmentTable, score: Floats, share: float, resamples: int, seed: int
) -> Selection:
    if not len(rows):
        nothing = float("nan")
        return Selection(share, nothing, Estimated(nothing), nothing, nothing, nothing)

    def chosen(by: Floats, weights: Floats, of: float = share) -> Floats:
        return selection_by_source(by, rows.sdr, rows.sources, of, weights)

    once = np.ones((1, len(rows)))
    return Selection(
        share=share,
        mean=float(chosen(score, once)[0]),
        gain=estimate(
            lambda w: chosen(score, w) - chosen(score, w, 1.0), rows.tracks, resamples, seed
        ),
        random=float(chosen(score, once, 1.0)[0]),
        energy=float(chosen(rows.scores[ENERGY], once)[0]),
        oracle=float(chosen(rows.sdr, once)[0]),
    )
