"""Blocks of several streams of one recording, brought to common samples or to one length."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor


class Aligned:
    """Holds each stream's samples back until all of them have got as far.

    Args:
        streams: number of them. Their tensors [..., n] may differ in all but the last axis.
    """

    def __init__(self, streams: int) -> None:
        self._queues = [_Queue() for _ in range(streams)]

    def take(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """Take in each stream's next block, n >= 0, and return the next m samples of each.

        Blocks are kept as they are, not copied: their makers must not write to them again.
        """
        for queue, block in zip(self._queues, blocks, strict=True):
            queue.append(block)
        count = min(queue.length for queue in self._queues)
        return [queue.pop(count) for queue in self._queues]


class FixedBlocks:
    """Cuts a stream anew, so that what follows does not depend on how it was cut before.

    Args:
        size: samples of every block but the last.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._queue = _Queue()

    def feed(self, block: Tensor) -> list[Tensor]:
        """Take in the next samples [..., n]; return the blocks that are complete."""
        # a copy: it may wait here, and a caller may reuse its block
        self._queue.append(block.clone())
        return [self._queue.pop(self.size) for _ in range(self._queue.length // self.size)]

    def flush(self) -> list[Tensor]:
        """End the stream: return what is left, as one block or none."""
        return [self._queue.pop(self._queue.length)] if self._queue.length else []


class _Queue:
    """Samples of one stream, first in, first out."""

    def __init__(self) -> None:
        self._blocks: deque[Tensor] = deque()
        self._none: Tensor | None = None
        self._held = 0  # samples that the first block holds in memory, those taken included
        self.length = 0

    def append(self, block: Tensor) -> None:
        if self._none is None:
            self._none = block[..., :0].clone()
        if block.shape[-1]:
            self._blocks.append(block)
            self.length += block.shape[-1]

    def pop(self, count: int) -> Tensor:
        """Remove and return the first `count` samples, of the `length` that there are."""
        assert self._none is not None
        parts: list[Tensor] = []
        missing = count
        while missing:
            block = self._blocks.popleft()
            self._held = max(self._held, block.shape[-1])
            parts.append(block[..., :missing])
            if block.shape[-1] > missing:
                self._put_back(block[..., missing:])
            else:
                self._held = 0
            missing -= parts[-1].shape[-1]
        self.length -= count
        if not parts:
            return self._none
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _put_back(self, rest: Tensor) -> None:
        """Let the first block be its rest, copied where that is small beside what it holds.

        A copy each time would make many small `pop` of one long block quadratic.
        """
        if 2 * rest.shape[-1] < self._held:
            rest = rest.clone()
            self._held = rest.shape[-1]
        self._blocks.appendleft(rest)
