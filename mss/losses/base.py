"""What every loss is: a mean over the items and sources of a batch.

A loss only says how wrong each source of each item is. Weights, means, the log's parts and the
promises that the solver rests on are made here, once.
"""

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
class LossConfig:
    """Keys of every loss.

    Attributes:
        weights: weight of a source by its name; 1 where it is not named, 0 leaves it out.
    """

    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Errors:
    """How wrong an estimate is.

    Attributes:
        total: [B, S], what is minimised.
        terms: [B, S] each, what it is made of, by name, for the log.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class SourceLoss(ABC):
    """The mean of an error of each item's each source:

        total = sum_bs w[b,s] v[s] e[b,s] / sum_bs w[b,s] v[s]

    with e[b,s] from `errors`, w the target's weight and v the weight of the source. The parts are
    the same mean for each source alone, without v, and the mean of each term, as the total's.

    A batch in which every weight is zero has nothing to learn from: its total is exactly 0 with a
    zero gradient. A source's part whose weights are all zero is NaN: nothing is known of it.
    A non-finite error stays non-finite even where its weight is zero, so that no fault hides.

    Args:
        config: typed keys.
        sources: names of the S axis.
        where: the config key that this loss is built from, for messages.

    Raises:
        ConfigError: a weight for a source that does not exist, a negative or non-finite one, or
            no positive one at all.
    """

    Config: ClassVar[type[LossConfig]] = LossConfig

    compares_items = False
    """Whether an item's error depends on the other items, also on those of other ranks.

    Such a loss is a collective: every rank calls it equally often.
    """

    def __init__(self, config: LossConfig, sources: tuple[str, ...], where: str = "loss") -> None:
        for name, weight in config.weights.items():
            if name not in sources:
                hint = nearest_name_hint(name, sources)
                raise ConfigError(f"{where}.weights.{name}: the model has no such source.{hint}")
            check_not_negative(weight, f"{where}.weights.{name}", "weight")
        self.sources = sources
        self.where = where
        self._source_weights = torch.tensor(
            [config.weights.get(name, 1.0) for name in sources], dtype=torch.float32
        )
        if not self._source_weights.any():
            raise ConfigError(
                f"{where}.weights: every source has weight 0; nothing would be learnt"
            )

    @abstractmethod
    def errors(self, estimate: Estimate, target: Target) -> Errors:
        """Return how wrong each source of each item is, [B, S], whatever its weight.

        Finite, with a finite gradient, wherever estimate and target are: on silence too.
        """

    def __call__(self, estimate: Estimate, target: Target) -> LossReport:
        """Compare waves [B, S, C, T] in float32, whatever precision the network ran in."""
        assert estimate.wave.shape == target.sources.shape, (
            f"estimate {tuple(estimate.wave.shape)}, target {tuple(target.sources.shape)}"
        )
        errors = self.errors(estimate, target)
        assert errors.total.shape == target.weight.shape, tuple(errors.total.shape)
        weight = target.weight.to(errors.total)
        weighted = weight * self._weights_on(weight.device)
        # The smallest normal number only matters where every weight is zero: 0 / tiny = 0.
        whole = weighted.sum().clamp_min(torch.finfo(weighted.dtype).tiny)
        total = (weighted * errors.total).sum() / whole

        known = weight.sum(dim=0)  # [S]
        of_source = (weight * errors.total.detach()).sum(dim=0) / known
        parts = dict(zip(self.sources, of_source.unbind(), strict=True))
        for name, term in errors.terms.items():
            parts[name] = (weighted * term.detach()).sum() / whole
        return LossReport(
            total, parts, part_weights=dict(zip(self.sources, known.tolist(), strict=True))
        )

    def weight(self, target: Target) -> Tensor:
        """Return sum_bs w[b,s] v[s], which the total is a mean over (scalar)."""
        weight = target.weight.to(torch.float32)
        return (weight * self._weights_on(weight.device)).sum()

    def weighted_errors(self, estimate: Estimate, target: Target) -> Errors:
        """Return errors that another loss can take in: e[b,s] v[s] / mean(v).

        Where all is known, their plain mean is this loss' total.
        """
        errors = self.errors(estimate, target)
        relative = self._weights_on(errors.total.device)
        relative = relative / relative.mean()
        return Errors(
            errors.total * relative, {key: term * relative for key, term in errors.terms.items()}
        )

    def _weights_on(self, device: torch.device) -> Tensor:
        """Return the weights of the sources [S] on `device`."""
        if self._source_weights.device != device:
            # moved where the device changes (validation may be elsewhere), not at every step
            self._source_weights = self._source_weights.to(device)
        return self._source_weights


def check_not_negative(value: float, key: str, what: str) -> None:
    """Raise a ConfigError unless `value` is a finite number of at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{key}: {value} is not a {what}; give 0 or more")


def check_positive(value: float, key: str) -> None:
    """Raise a ConfigError unless `value` is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{key}: {value} is not positive")
