"""How much of the mixture the stems leave."""

from __future__ import annotations

import math
from collections import deque

from torch import Tensor


class SumError:
    """The energy of the mixture minus the sum of its stems.

    The mixture's blocks wait for the stems, which come out later: as many samples as the session
    holds back.

    Args:
        count: stems that are added up, the first ones; a residual that follows is none of them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: deque[Tensor] = deque()
        self._mixture_energy = 0.0
        self._error_energy = 0.0

    def mixture(self, block: Tensor) -> None:
        """Take in a block [C, n] of the recording."""
        self._waiting.append(block)

    def stems(self, stems: Tensor) -> None:
        """Take in the stems [S, C, m] of the oldest m samples that wait."""
        total = stems[: self._count].sum(dim=0)
        start = 0
        while start < total.shape[-1]:
            block = self._waiting.popleft()
            count = min(block.shape[-1], total.shape[-1] - start)
            if count < block.shape[-1]:
                self._waiting.appendleft(block[:, count:])
            block = block[:, :count].double()
            error = block - total[:, start : start + count].to(block)
            self._mixture_energy += block.square().sum().item()
            self._error_energy += error.square().sum().item()
            start += count

    def decibels(self) -> float | None:
        """Return the error relative to the mixture in dB; None for a silent mixture."""
        if self._mixture_energy == 0:
            return None
        if self._error_energy == 0:
            return -math.inf
        return 10 * math.log10(self._error_energy / self._mixture_energy)
