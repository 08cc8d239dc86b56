"""How a recording is cut into chunks and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, InferenceDefaults

WindowKind = Literal["triangle", "hann", "flat"]


@dataclass(frozen=True)
class Plan:
    """The grid of chunks of a recording, in samples.

    Chunk k starts at sample k * stride, for every such start inside the recording. A chunk that
    would reach beyond the end is cut there, not padded, so the last ones are shorter.

    Attributes:
        sources: S, sources that the chunk function gives.
        channels: C, channels that it takes and gives.
        segment: samples of one chunk; None: the whole recording is one chunk.
        stride: samples from one chunk's start to the next; None where `segment` is.
        window: weight of a chunk's samples in the overlap-add.
        batch_size: chunks that are separated together.
    """

    sources: int
    channels: int
    segment: int | None
    stride: int | None
    window: WindowKind = "triangle"
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: {self.batch_size} is not at least 1")
        if self.window not in get_args(WindowKind):
            known = ", ".join(get_args(WindowKind))
            raise ConfigError(f"window: there is no window {self.window!r}. Known: {known}")
        if self.segment is None or self.stride is None:
            if self.segment is not self.stride:
                raise ConfigError("segment: None (the whole recording) goes with stride None")
            return
        if self.segment < 1:
            raise ConfigError("segment: shorter than one sample; give more seconds")
        if not 1 <= self.stride <= self.segment:
            raise ConfigError(
                f"overlap: a chunk of {self.segment} samples every {self.stride} samples; the "
                "stride must be from 1 sample to a whole chunk, so choose another overlap"
            )

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
) -> Plan:
    """Return the plan for a model.

    Args:
        spec: what the model takes and gives.
        inference: how it wants to be run.
        batch_size: chunks separated together.
        segment: seconds of one chunk, instead of the model's own.
        overlap: share of a chunk that the next one repeats, in [0, 1), instead of the model's own.

    Raises:
        ConfigError: a segment, overlap or batch size that makes no grid.
    """
    seconds = inference.segment if segment is None else segment
    share = inference.overlap if overlap is None else overlap
    if seconds is not None and seconds <= 0:
        raise ConfigError(f"segment: {float(seconds):g} s is not positive")
    if not 0 <= share < 1:
        raise ConfigError(f"overlap: {share:g} is not in [0, 1)")
    frames = None if seconds is None else spec.frames(seconds)
    return Plan(
        sources=len(spec.sources),
        channels=spec.channels,
        segment=frames,
        # rounded down in binary floating point, as demucs does, so that the grids are the same
        stride=None if frames is None else int((1 - share) * frames),
        window=inference.window,
        batch_size=batch_size,
    )


def window_weights(kind: WindowKind, length: int) -> Tensor:
    """Return the weights [length] of a chunk's samples; positive everywhere, maximum 1.

    A sample's estimate is the mean over the chunks that cover it, weighted by these.

    "triangle": 1, 2, ... up to the middle and down to 1 again, as demucs weights its chunks.
    "hann": the symmetric Hann window of length + 2 without its two zeros, since a sample covered
    by one chunk only still needs a weight.
    "flat": ones, a plain mean.
    """
    if kind == "flat":
        return torch.ones(length)
    if kind == "hann":
        weights = torch.hann_window(length + 2, periodic=False)[1:-1]
        # float32 may round the outermost of a very long window to zero
        weights = weights.clamp_min(torch.finfo(torch.float32).tiny)
    else:
        half = length // 2
        weights = torch.cat([torch.arange(1, half + 1), torch.arange(length - half, 0, -1)]).float()
    return weights / weights.max()
