"""A weighted sum of losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target
from mss.losses.base import REMAINDER, Errors, LossConfig, SourceLoss, check_not_negative
from mss.losses.mrstft import MRSTFTLossConfig


def _default_parts() -> dict[str, dict[str, Any]]:
    return {
        "l1": {"name": "l1", "weight": 1.0, **registry.dump_config(LossConfig())},
        "mrstft": {"name": "mrstft", "weight": 0.02, **registry.dump_config(MRSTFTLossConfig())},
    }


@dataclass(frozen=True)
class SumLossConfig(LossConfig):
    """Keys of the sum.

    Attributes:
        weights: see LossConfig.
        parts: the losses by names of the user's choice, under which they are logged; each has its
            `name`, its keys, and its `weight` in the sum (1 unless given; 0 leaves it out).
    """

    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=_default_parts)


class SumLoss(SourceLoss):
    """sum_i weight_i loss_i, with the losses' own source weights beside those of the sum.

    Raises:
        ConfigError: no part with a weight, a negative one, a part named as a source, or a key of a
            part that is wrong.
    """

    Config = SumLossConfig

    def __init__(
        self, config: SumLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        self.losses: dict[str, SourceLoss] = {}
        self.part_weights: dict[str, float] = {}
        for name, values in config.parts.items():
            part = f"{where}.parts.{name}"
            if name in sources:
                raise ConfigError(f"{part}: a source has this name; name the part otherwise")
            if name == REMAINDER:
                raise ConfigError(
                    f"{part}: the loss of a sum of sources has this name; name the part otherwise"
                )
            weight = _weight(values, part)
            if weight:
                keys = {key: value for key, value in values.items() if key != "weight"}
                self.losses[name] = registry.build("loss", keys, sources, part, where=part)
                self.part_weights[name] = weight
        if not self.losses:
            raise ConfigError(f"{where}.parts: no part has a weight; nothing would be learnt")
        self.compares_items = any(loss.compares_items for loss in self.losses.values())

    def for_sum(self) -> SourceLoss:
        summed = copy.copy(self)
        summed.sources = (REMAINDER,)
        summed._source_weights = torch.ones(1)
        summed.losses = {name: loss.for_sum() for name, loss in self.losses.items()}
        return summed

    def on_epoch(self, epoch: int) -> None:
        super().on_epoch(epoch)
        for loss in self.losses.values():
            loss.on_epoch(epoch)

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        terms: dict[str, Tensor] = {}
        totals = []
        for name, loss in self.losses.items():
            errors = loss.weighted_errors(estimate, target)
            totals.append(self.part_weights[name] * errors.total)
            terms[name] = errors.total
            terms |= {f"{name}_{term}": value for term, value in errors.terms.items()}
        total = totals[0]
        for other in totals[1:]:
            total = total + other
        return Errors(total, terms)


def _weight(values: Mapping[str, Any], part: str) -> float:
    weight = values.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ConfigError(f"{part}.weight: {weight!r} is not a number")
    check_not_negative(weight, f"{part}.weight", "weight")
    return float(weight)
