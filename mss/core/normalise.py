"""Normalisation by facts about a whole recording, in one place for training and inference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mss.core.types import Normalise


@dataclass(frozen=True)
class Normalisation:
    """An affine map x -> (x - mean) / std, and back. The default changes nothing (bit for bit)."""

    mean: float = 0.0
    std: float = 1.0

    def apply(self, audio: Tensor) -> Tensor:
        """Normalise audio of any shape (a mixture or its stems)."""
        if self.mean == 0.0 and self.std == 1.0:
            return audio
        return (audio - self.mean) / self.std

    def undo(self, audio: Tensor) -> Tensor:
        """Bring separated audio back to the recording's own level."""
        if self.mean == 0.0 and self.std == 1.0:
            return audio
        return audio * self.std + self.mean


# Digital silence would divide by zero; 1e-8 is 60 dB below the step of 16-bit audio.
_STD_FLOOR = 1e-8


class MonoStatistics:
    """Mean and standard deviation of the mono mix, accumulated block by block in float64.

    Chan's parallel update, so that the result of any blocking agrees with the one-shot formula to
    rounding. The standard deviation is the unbiased one (N - 1), as torch's default.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._m2 = 0.0

    def update(self, audio: Tensor) -> None:
        """Take in a block [C, T]."""
        frames = audio.shape[-1]
        if frames == 0:
            return
        mono = audio.double().mean(dim=0)
        mean = mono.mean().item()
        m2 = (mono - mean).square().sum().item()
        total = self.count + frames
        delta = mean - self._mean
        self._m2 += m2 + delta * delta * self.count * frames / total
        self._mean += delta * frames / total
        self.count = total

    @property
    def mean(self) -> float:
        return self._mean

    @property
    def std(self) -> float:
        return math.sqrt(self._m2 / max(1, self.count - 1))

    def normalisation(self, kind: Normalise) -> Normalisation:
        """Return the map of `kind` for what was taken in."""
        if kind == "none" or self.std < _STD_FLOOR:
            return Normalisation()
        return Normalisation(self._mean, self.std)


def file_normalisation(mix: Tensor, kind: Normalise) -> Normalisation:
    """Return the normalisation of a whole recording [C, T]."""
    if kind == "none":
        return Normalisation()
    statistics = MonoStatistics()
    # blocks bound the float64 copy to a few megabytes
    for block in torch.split(mix, 1 << 20, dim=-1):
        statistics.update(block)
    return statistics.normalisation(kind)
