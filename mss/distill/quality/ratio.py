"""Ratios of energies that add up over segments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mss.metrics.energy import energy

LIMIT_DB = 120.0
"""Ratios are not beyond +-120 dB: float32 knows no better, and JSON no infinity."""


@dataclass(frozen=True)
class Ratio:
    """Energies of several segments, summed before they are divided.

    Attributes:
        above: [S] float64, energy above the line.
        below: [S] float64, energy below it.
    """

    above: Tensor
    below: Tensor

    def __add__(self, other: Ratio) -> Ratio:
        return Ratio(self.above + other.above, self.below + other.below)

    @property
    def db(self) -> Tensor:
        """[S]: 10 log10(above / below) within +-LIMIT_DB; NaN where both are 0."""
        ratio = self.above / self.below  # 0 / 0: NaN
        return (10 * torch.log10(ratio)).clamp(-LIMIT_DB, LIMIT_DB)


def distortion(reference: Tensor, estimate: Tensor) -> Ratio:
    """Return |s|^2 over |s - e|^2 of references and estimates [S, C, T]: their SDR."""
    return Ratio(energy(reference), energy(reference.double() - estimate.double()))


def undefined(count: int) -> Ratio:
    """Return a ratio of `count` rows of which nothing is known: NaN dB, neutral in a sum."""
    return Ratio(torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64))
