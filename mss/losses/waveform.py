"""Losses on samples: mean absolute and mean squared error."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss

WaveformLossConfig = LossConfig
"""Keys of both losses."""


class WaveformLoss(SourceLoss):
    """A sample-wise error, averaged over channels and samples."""

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """Return the error of each sample from estimate minus target (any shape)."""

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        difference = estimate.wave.float() - target.sources.float()
        return Errors(self.error(difference).mean(dim=(2, 3)))


class L1Loss(WaveformLoss):
    """Mean absolute error, the loss of Demucs (arXiv 1911.13254)."""

    def error(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MSELoss(WaveformLoss):
    """Mean squared error."""

    def error(self, difference: Tensor) -> Tensor:
        return difference.square()
