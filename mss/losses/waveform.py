"""Losses on waves: mean absolute and mean squared error."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import Estimate, LossReport, Target


@dataclass(frozen=True)
class WaveformLossConfig:
    """Keys of both losses.

    Attributes:
        weights: weight of a source by its name; 1 where it is not named, 0 leaves it out.
    """

    weights: Mapping[str, float] = field(default_factory=dict)


class WaveformLoss(ABC):
    """A sample-wise error, averaged over channels and samples, then over items and sources.

        total = sum_bs w[b,s] v[s] e[b,s] / sum_bs w[b,s] v[s]

    with e[b,s] the mean error of item b's source s over (C, T), w the target's weight and v the
    weight of the source. The parts are the same mean for each source alone, without v.

    A batch in which every weight is zero has nothing to learn from: its total is exactly 0 with a
    zero gradient. A part whose weights are all zero is NaN: nothing is known of that source.
    A non-finite error stays non-finite even where its weight is zero, so that no fault hides.

    Args:
        config: typed keys.
        sources: names of the S axis.

    Raises:
        ConfigError: a weight for a source that does not exist, a negative or non-finite one, or
            no positive one at all.
    """

    Config: ClassVar[type[WaveformLossConfig]] = WaveformLossConfig

    def __init__(self, config: WaveformLossConfig, sources: tuple[str, ...]) -> None:
        for name, weight in config.weights.items():
            if name not in sources:
                hint = nearest_name_hint(name, sources)
                raise ConfigError(f"loss.weights.{name}: the model has no such source.{hint}")
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"loss.weights.{name}: {weight} is not a weight; give 0 or more")
        self.sources = sources
        self._source_weights = torch.tensor(
            [config.weights.get(name, 1.0) for name in sources], dtype=torch.float32
        )
        if not self._source_weights.any():
            raise ConfigError("loss.weights: every source has weight 0; nothing would be learnt")

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """Return the error of each sample from estimate minus target (any shape)."""

    def __call__(self, estimate: Estimate, target: Target) -> LossReport:
        """Compare waves [B, S, C, T] in float32, whatever precision the network ran in."""
        assert estimate.wave.shape == target.sources.shape, (
            f"estimate {tuple(estimate.wave.shape)}, target {tuple(target.sources.shape)}"
        )
        difference = estimate.wave.float() - target.sources.float()
        errors = self.error(difference).mean(dim=(2, 3))  # [B, S]
        weight = target.weight.to(errors)
        weighted = self._weighted(weight)
        # The smallest normal number only matters where every weight is zero: 0 / tiny = 0.
        tiny = torch.finfo(errors.dtype).tiny
        total = (weighted * errors).sum() / weighted.sum().clamp_min(tiny)

        known = weight.sum(dim=0)  # [S]
        of_source = (weight * errors.detach()).sum(dim=0) / known
        return LossReport(
            total,
            parts=dict(zip(self.sources, of_source.unbind(), strict=True)),
            part_weights=dict(zip(self.sources, known.tolist(), strict=True)),
        )

    def weight(self, target: Target) -> Tensor:
        """Return sum_bs w[b,s] v[s], which the total is a mean over (scalar)."""
        return self._weighted(target.weight.to(torch.float32)).sum()

    def _weighted(self, weight: Tensor) -> Tensor:
        """Return the target's weights [B, S] times those of the sources."""
        if self._source_weights.device != weight.device:
            # moved where the device changes (validation may be elsewhere), not at every step
            self._source_weights = self._source_weights.to(weight.device)
        return weight * self._source_weights


class L1Loss(WaveformLoss):
    """Mean absolute error, the loss of Demucs (arXiv 1911.13254)."""

    def error(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MSELoss(WaveformLoss):
    """Mean squared error."""

    def error(self, difference: Tensor) -> Tensor:
        return difference.square()
