"""Scores of a separator on the songs of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.core.types import Separate, Track
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
    """

    metrics: Mapping[str, Mapping[str, Any] | None]
    split: Literal["train", "valid", "test"] = "test"
    batch_size: Annotated[int, Field(ge=1)] = 1


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
    """

    track: str
    length: int
    samplerate: int
    recorded_mixture: bool
    scores: Mapping[str, SourceValues]
    do_nothing: Mapping[str, SourceValues]
    frames: Mapping[str, FrameCount] = field(default_factory=dict)
    silence: Mapping[str, Silence] = field(default_factory=dict)


def evaluate_tracks(
    separate: Separate,
    tracks: Sequence[Track],
    targets: TargetMap,
    metrics: Sequence[Metric],
    progress: bool = False,
    on_result: Callable[[TrackResult], object] | None = None,
) -> tuple[TrackResult, ...]:
    """Separate and score songs, one after the other.

    Args:
        separate: [C, T] -> [S, C, T], the S sources in the order of `targets.sources`.
        tracks: the songs.
        targets: which stems sum to which source.
        metrics: what to measure.
        progress: show a progress bar, where the standard error is a terminal.
        on_result: told each song's result as soon as it is known.

    Raises:
        DataError: there is no song, or see evaluate_track.
    """
    if not tracks:
        raise DataError("0 tracks: there is no song to evaluate; check dset and test.split")
    results = []
    for track in tqdm(tracks, desc="evaluate", disable=None if progress else True):
        results.append(evaluate_track(separate, track, targets, metrics))
        if on_result is not None:
            on_result(results[-1])
    return tuple(results)


@torch.no_grad()
def evaluate_track(
    separate: Separate, track: Track, targets: TargetMap, metrics: Sequence[Metric]
) -> TrackResult:
    """Separate and score one song; the arguments are those of evaluate_tracks.

    Raises:
        DataError: the separator gave a sample that is not a number, or the song can't be read.
    """
    mixture = read_mixture(track)
    references = torch.stack([_read_sum(track, stems) for stems in targets.stems])
    estimates = separate(mixture)
    assert estimates.shape == references.shape, (
        f"estimates {tuple(estimates.shape)}, references {tuple(references.shape)}"
    )
    if not estimates.isfinite().all():
        raise DataError(
            f"{track.name}: the model gave samples that are infinite or not numbers; there is"
            " nothing to score. Its training has diverged, or its file is damaged"
        )
    scores, frames = _score(metrics, references, estimates, track.samplerate)
    baseline, _ = _score(metrics, references, do_nothing(references, mixture), track.samplerate)
    with_baseline = {
        measure.name for metric in metrics for measure in metric.measures if measure.has_baseline
    }
    return TrackResult(
        track=track.name,
        length=track.length,
        samplerate=track.samplerate,
        recorded_mixture=track.has_mixture,
        scores=_by_source(scores, targets.sources),
        do_nothing=_by_source(
            {name: values for name, values in baseline.items() if name in with_baseline},
            targets.sources,
        ),
        frames=frames,
        silence=_silence(references, estimates, mixture, track.samplerate, targets.sources),
    )


def read_mixture(track: Track) -> Tensor:
    """Return the mixture [C, T] of a song: the recorded one, else the sum of *all* stems."""
    return track.read("mixture") if track.has_mixture else _read_sum(track, track.stems)


def _read_sum(track: Track, stems: Iterable[str]) -> Tensor:
    return torch.stack([track.read(stem) for stem in stems]).sum(dim=0)


def _score(
    metrics: Sequence[Metric], references: Tensor, estimates: Tensor, samplerate: int
) -> tuple[dict[str, Tensor], dict[str, FrameCount]]:
    """Return each measure's scores [S], and the frames that the framewise ones rest on."""
    scores: dict[str, Tensor] = {}
    frames: dict[str, FrameCount] = {}
    for metric in metrics:
        if isinstance(metric, FramewiseMetric):
            framewise = metric.frames(references, estimates, samplerate)
            defined = defined_frames(framewise)
            count = FrameCount(int(defined.sum()), defined.numel())
            frames |= dict.fromkeys(framewise, count)
            scores |= median_of_frames(framewise)
        else:
            scores |= metric.score(references, estimates, samplerate)
    return scores, frames


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
