"""How a recording is cut into chunks and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, InferenceDefaults, Tail, WindowKind

_FADE = 10
"""A linear fade takes the tenth part of a chunk at either end, as in MSST."""


@dataclass(frozen=True)
class Plan:
    """The grid of chunks of a recording, in samples.

    Chunk k starts at sample k * stride, for every such start inside the recording. A chunk that
    would reach beyond the end is cut there, so the last ones are shorter; `tail` says how they
    are separated. Of each chunk, `context` samples at both edges are heard and discarded; the
    first chunk keeps its left edge, those that the end cuts keep their right one.

    Attributes:
        sources: S, sources that the chunk function gives.
        channels: C, channels that it takes and gives.
        segment: samples of one chunk; None: the whole recording is one chunk.
        stride: samples from one chunk's start to the next; None where `segment` is.
        window: weight, in the overlap-add, of what a chunk keeps.
        batch_size: chunks that are separated together.
        context: samples discarded at each edge.
        tail: as in InferenceDefaults.
        shifts: samples; the mean is taken over the grids that start this much before the
            recording. Zeros precede it there, as in demucs: the first chunk is then a whole one.
            Empty: the one grid that starts with the recording.
        inputs: rows that the chunk function takes, where these are not its channels.
    """

    sources: int
    channels: int
    segment: int | None
    stride: int | None
    window: WindowKind = "triangle"
    batch_size: int = 1
    context: int = 0
    tail: Tail = "short"
    shifts: tuple[int, ...] = ()
    inputs: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: {self.batch_size} is not at least 1")
        for key, kind in (("window", WindowKind), ("tail", Tail)):
            if getattr(self, key) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigError(f"{key}: there is no {getattr(self, key)!r}. Known: {known}")
        if any(shift < 0 for shift in self.shifts):
            raise ConfigError(f"shifts: {min(self.shifts)} samples; a shift is 0 or more")
        if self.segment is None or self.stride is None:
            if self.segment is not self.stride:
                raise ConfigError("segment: None (the whole recording) goes with stride None")
            return
        if self.segment < 1:
            raise ConfigError("segment: shorter than one sample; give more seconds")
        if self.context < 0 or 2 * self.context >= self.segment:
            raise ConfigError(
                f"context: {self.context} samples at both edges of a chunk of {self.segment}; "
                "give from 0 to less than a half, or a longer segment"
            )
        if not 1 <= self.stride <= self.segment - 2 * self.context:
            raise ConfigError(
                f"overlap: a chunk that keeps {self.segment - 2 * self.context} samples every "
                f"{self.stride} samples; the stride must be from 1 sample to all that is kept, so "
                "choose another overlap"
            )

    @property
    def rows(self) -> int:
        """Rows that the chunk function takes."""
        return self.channels if self.inputs is None else self.inputs

    @property
    def latency(self) -> int | None:
        """Samples after which the oldest one comes out separated: one batch of chunks.

        None where the whole recording is needed.
        """
        if self.segment is None or self.stride is None:
            return None
        return self.segment + (self.batch_size - 1) * self.stride

    @property
    def advance(self) -> int | None:
        """Samples from one batch's start to the next; None where there is one chunk only."""
        return None if self.stride is None else self.batch_size * self.stride


def make_plan(
    spec: AudioSpec,
    inference: InferenceDefaults,
    batch_size: int = 1,
    segment: Fraction | None = None,
    overlap: float | None = None,
    shifts: Sequence[int] = (),
) -> Plan:
    """Return the plan for a model.

    Args:
        spec: what the model takes and gives.
        inference: how it wants to be run.
        batch_size: chunks separated together.
        segment: seconds of one chunk, instead of the model's own.
        overlap: share of what a chunk keeps that the next one repeats, in [0, 1), instead of the
            model's own.
        shifts: as in Plan.

    Raises:
        ConfigError: a segment, overlap, context, shift or batch size that makes no grid.
    """
    seconds = inference.segment if segment is None else segment
    share = inference.overlap if overlap is None else overlap
    if seconds is not None and seconds <= 0:
        raise ConfigError(f"segment: {float(seconds):g} s is not positive")
    if not 0 <= share < 1:
        raise ConfigError(f"overlap: {share:g} is not in [0, 1)")
    frames = None if seconds is None else spec.frames(seconds)
    context = spec.frames(inference.context)
    return Plan(
        sources=len(spec.sources),
        channels=spec.channels,
        segment=frames,
        # rounded down in binary floating point, as demucs does, so that the grids are the same
        stride=None if frames is None else int((1 - share) * (frames - 2 * context)),
        window=inference.window,
        batch_size=batch_size,
        context=context,
        tail=inference.tail,
        shifts=tuple(shifts),
    )


def window_weights(kind: WindowKind, length: int) -> Tensor:
    """Return the weights [length] of a chunk's samples; positive everywhere, maximum 1.

    A sample's estimate is the mean over the chunks that cover it, weighted by these.

    "triangle": 1, 2, ... up to the middle and down to 1 again, as demucs weights its chunks.
    "hann": the symmetric Hann window of length + 2 without its two zeros, since a sample covered
    by one chunk only still needs a weight.
    "flat": ones, a plain mean.
    "linear_fade": ones, that rise from 0 and fall to 0 over a tenth of the length, as MSST weights
    its chunks; in place of 0 stands the smallest number, for the same reason.
    """
    if kind == "flat":
        return torch.ones(length)
    smallest = torch.finfo(torch.float32).tiny
    if kind == "linear_fade":
        ramp = torch.linspace(0, 1, length // _FADE)
        weights = torch.ones(length)
        weights[: len(ramp)] = ramp
        weights[length - len(ramp) :] = ramp.flip(0)
        # a fade of one sample would be nothing but its zero
        return weights.clamp_min(smallest) if len(ramp) > 1 else torch.ones(length)
    if kind == "hann":
        weights = torch.hann_window(length + 2, periodic=False)[1:-1]
        # float32 may round the outermost of a very long window to zero
        weights = weights.clamp_min(smallest)
    else:
        half = length // 2
        weights = torch.cat([torch.arange(1, half + 1), torch.arange(length - half, 0, -1)]).float()
    return weights / weights.max()
