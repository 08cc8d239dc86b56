"""Windows of a recording, which may reach beyond its ends: the only way scores read audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Read = Callable[[int, int], Tensor]
"""(start, frames) -> [..., frames], a span inside of the recording."""


@dataclass(frozen=True)
class Recording:
    """A recording of known length.

    Attributes:
        read: gives spans of it.
        length: samples.
    """

    read: Read
    length: int

    @classmethod
    def of(cls, audio: Tensor) -> Recording:
        """Return the recording [..., T] that is in memory."""
        return cls(lambda start, frames: audio[..., start : start + frames], audio.shape[-1])

    def window(self, start: int, frames: int) -> Tensor:
        """Return the samples from `start` on, [..., frames]; silence outside of the recording."""
        first, last = max(0, start), min(start + frames, self.length)
        assert first < last, f"{start} + {frames} is outside of {self.length} samples"
        return F.pad(self.read(first, last - first), (first - start, start + frames - last))


def cut(length: int, frames: int | None) -> tuple[tuple[int, int], ...]:
    """Cut a recording into segments: (start, frames) of each.

    All are `frames` long but for the last, which is from a half to one and a half of it: a rest
    that is shorter than a half belongs to the one before. None: the whole recording.
    """
    if length == 0:
        return ()
    if frames is None:
        return ((0, length),)
    count = max(1, int(length / frames + 0.5))
    starts = [index * frames for index in range(count)]
    ends = [*starts[1:], length]
    return tuple((start, end - start) for start, end in zip(starts, ends, strict=True))


class ForwardReader:
    """A `Read` of blocks that come one after the other, as a file is decoded.

    What precedes the span that was asked for last is forgotten: no later span may start before it.

    Args:
        blocks: [C, n] each.
    """

    def __init__(self, blocks: Iterator[Tensor]) -> None:
        self._blocks = blocks
        self._kept: Tensor | None = None
        self._start = 0  # of what is kept

    def __call__(self, start: int, frames: int) -> Tensor:
        assert start >= self._start, "a span before the one that was asked for last"
        kept = next(self._blocks) if self._kept is None else self._kept
        while True:
            drop = min(start - self._start, kept.shape[-1])
            kept, self._start = kept[..., drop:], self._start + drop
            if self._start == start and kept.shape[-1] >= frames:
                self._kept = kept
                return kept[..., :frames]
            kept = torch.cat([kept, next(self._blocks)], dim=-1)
