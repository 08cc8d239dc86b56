"""Scores of the estimates of a song's sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mss.core.errors import DataError
from mss.eval.estimators import Song
from mss.metrics.base import FramewiseMetric, Metric, defined_frames, median_of_frames
from mss.metrics.energy import do_nothing
from mss.metrics.silence import leakage

SourceValues = dict[str, float]
"""A value for each source, by its name; NaN where it is not defined."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Keys of the group `test`.

    Attributes:
        metrics: names and keys of the metrics, as mss.metrics.base.make_metrics takes them.
        split: of the data set.
        batch_size: chunks that are separated together.
        shifts: estimates at so many random shifts in time are averaged; 0: none is shifted.
        seed: the shifts are drawn from it and the song's name.
        workers: processes that score songs while the next one is separated; 0: the main process
            does.
    """

    metrics: Mapping[str, Mapping[str, Any] | None]
    split: Literal["train", "valid", "test"] = "test"
    batch_size: Annotated[int, Field(ge=1)] = 1
    shifts: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class FrameCount:
    """How many frames of a song a framewise score rests on."""

    used: int
    total: int


@dataclass(frozen=True)
class Silence:
    """What is silent in one source of a song, and how well the separator kept it so.

    Attributes:
        whole: the reference is all zero from beginning to end.
        frames: silent frames of one second.
        leakage: dB, see mss.metrics.silence.leakage; NaN without silent frames.
    """

    whole: bool
    frames: int
    leakage: float


@dataclass(frozen=True)
class TrackResult:
    """The scores of one song.

    Attributes:
        track: the song's name.
        length: samples.
        samplerate: Hz.
        recorded_mixture: the mixture was read from its file; it is the sum of the stems otherwise.
        scores: by measure, then by source.
        do_nothing: what the mixture itself scores, at its best constant gain for each source;
            of the measures in which that is a bar to beat.
        frames: of the framewise measures.
        silence: by source.
        framewise: each frame's score, by measure and source.
        remarks: sentences on how far the scores can be trusted, if there is anything to say.
    """

    track: str
    length: int
    samplerate: int
    recorded_mixture: bool
    scores: Mapping[str, SourceValues]
    do_nothing: Mapping[str, SourceValues]
    frames: Mapping[str, FrameCount] = field(default_factory=dict)
    silence: Mapping[str, Silence] = field(default_factory=dict)
    framewise: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@torch.no_grad()
def score_song(
    song: Song, estimates: Tensor, sources: Sequence[str], metrics: Sequence[Metric]
) -> TrackResult:
    """Score the estimates [S, C, T] of a song.

    Args:
        song: with the references, in the order of `sources`.
        estimates: one for each.
        sources: their names.
        metrics: what to measure.

    Raises:
        DataError: a sample of the estimates is not a number.
    """
    track, references = song.track, song.references
    assert estimates.shape == references.shape, (
        f"estimates {tuple(estimates.shape)}, references {tuple(references.shape)}"
    )
    if not estimates.isfinite().all():
        raise DataError(
            f"{track.name}: the estimates hold samples that are infinite or not numbers; there is"
            " nothing to score. A model's training has diverged, or its file is damaged"
        )
    scored = _score(metrics, song, estimates)
    return TrackResult(
        track=track.name,
        length=track.length,
        samplerate=track.samplerate,
        recorded_mixture=track.has_mixture,
        scores=_by_source(scored.scores, sources),
        do_nothing=_by_source(_baseline(metrics, song), sources),
        frames=scored.counts,
        silence=_silence(references, estimates, song.mixture, track.samplerate, sources),
        framewise={
            name: dict(zip(sources, values.tolist(), strict=True))
            for name, values in scored.frames.items()
        },
        remarks=tuple(scored.remarks),
    )


@dataclass
class _Scored:
    """What metrics gave: scores [S] and frames [S, frames] by measure, and what they rest on."""

    scores: dict[str, Tensor] = field(default_factory=dict)
    frames: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, FrameCount] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def _score(metrics: Sequence[Metric], song: Song, estimates: Tensor) -> _Scored:
    """Apply every metric."""
    scored = _Scored()
    references, samplerate = song.references, song.track.samplerate
    for metric in metrics:
        if isinstance(metric, FramewiseMetric):
            given = metric.frames(references, estimates, samplerate)
            defined = defined_frames(given.values)
            count = FrameCount(int(defined.sum()), defined.numel())
            scored.counts |= dict.fromkeys(given.values, count)
            scored.frames |= given.values
            scored.scores |= median_of_frames(given.values)
            scored.remarks += given.remarks
        else:
            scored.scores |= metric.score_with_mixture(
                references, estimates, song.mixture, samplerate
            )
    return scored


def _baseline(metrics: Sequence[Metric], song: Song) -> dict[str, Tensor]:
    """Return what the mixture scores, [S] by measure, where that is a bar to beat."""
    mixtures = do_nothing(song.references, song.mixture)
    bars: dict[str, Tensor] = {}
    for metric in metrics:
        wanted = {measure.name for measure in metric.measures if measure.has_baseline}
        if not wanted:
            continue
        given = metric.baseline(song.references, mixtures, song.mixture, song.track.samplerate)
        bars |= {name: values for name, values in given.items() if name in wanted}
    return bars


def _silence(
    references: Tensor, estimates: Tensor, mixture: Tensor, samplerate: int, sources: Sequence[str]
) -> dict[str, Silence]:
    leaks = leakage(references, estimates, mixture, samplerate)
    rows = zip(
        sources,
        (references == 0).all(dim=2).all(dim=1).tolist(),
        leaks.silent.tolist(),
        leaks.level.tolist(),
        strict=True,
    )
    return {source: Silence(whole, frames, level) for source, whole, frames, level in rows}


def _by_source(scores: Mapping[str, Tensor], sources: Sequence[str]) -> dict[str, SourceValues]:
    return {
        name: dict(zip(sources, values.tolist(), strict=True)) for name, values in scores.items()
    }
