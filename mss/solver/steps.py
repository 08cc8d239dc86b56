"""The learning rate of stages: constant in each, by the epoch it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mss.core.errors import ConfigError
from mss.solver.schedule import Constant, FadingConfig


@dataclass(frozen=True)
class StepsConfig(FadingConfig):
    """Keys of the steps schedule.

    Attributes:
        at: the rate as a share of optim.lr, by the epoch (from 0) from which on it holds.
    """

    at: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for epoch, share in self.at.items():
            if epoch < 0:
                raise ConfigError(f"schedule.at: epoch {epoch} is negative; the first is 0")
            if not 0 < share <= 1:
                raise ConfigError(f"schedule.at.{epoch}: {share} is not in (0, 1]")


class Steps(Constant):
    """All of optim.lr before the first step, and what each one says from its epoch on.

    The shares are of optim.lr, not of the rate before, so steps can be taken out and added. A step
    within the warm-up holds from the end of that on.
    """

    Config = StepsConfig
    kind = "steps"

    def after_warmup(self, step: int, steps: int) -> float:
        epoch = self.position * self.epochs // self.total_steps
        begun = [start for start in self.config.at if start <= epoch]
        return float(self.config.at[max(begun)]) if begun else 1.0
