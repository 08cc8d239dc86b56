"""Learning-rate schedules, stepped after every update; plateau also listens to the validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)

from mss.core.errors import ConfigError


@dataclass(frozen=True)
class ScheduleConfig:
    """Keys of every schedule.

    Attributes:
        warmup_steps: updates over which the rate grows linearly from 1 % of optim.lr to all of it.
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps: {self.warmup_steps} is negative")


class Constant:
    """The same rate throughout, after the warm-up."""

    Config: ClassVar[type[ScheduleConfig]] = ScheduleConfig

    def __init__(
        self, config: ScheduleConfig, optimizer: torch.optim.Optimizer, total_steps: int
    ) -> None:
        warmup = config.warmup_steps
        if warmup >= total_steps:
            raise ConfigError(
                f"schedule.warmup_steps: {warmup} leaves nothing of the run's {total_steps} updates"
            )
        self.optimizer = optimizer
        main = self._main(config, total_steps - warmup)
        self.by_step: LRScheduler = main
        if warmup > 0:
            rise = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
            self.by_step = SequentialLR(optimizer, [rise, main], milestones=[warmup])

    def _main(self, config: Any, steps: int) -> LRScheduler:
        return ConstantLR(self.optimizer, factor=1.0)

    @property
    def rate(self) -> float:
        """The rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def on_step(self) -> None:
        """Call after every update."""
        self.by_step.step()

    def on_epoch(self, validation_loss: float | None) -> None:
        """Call after every validation."""

    def state_dict(self) -> dict[str, Any]:
        return {"by_step": self.by_step.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.by_step.load_state_dict(state["by_step"])


@dataclass(frozen=True)
class CosineConfig(ScheduleConfig):
    """Keys of the cosine schedule.

    Attributes:
        final: the last rate, as a share of optim.lr.
    """

    final: float = 0.0


class Cosine(Constant):
    """Half a cosine from optim.lr down to `final` of it (Loshchilov & Hutter 2017, no restart)."""

    Config = CosineConfig

    def _main(self, config: Any, steps: int) -> LRScheduler:
        # The base rate is read before a warm-up changes it: this scheduler is made first.
        final = config.final * float(self.optimizer.param_groups[0]["lr"])
        return CosineAnnealingLR(self.optimizer, T_max=steps, eta_min=final)


@dataclass(frozen=True)
class PlateauConfig(ScheduleConfig):
    """Keys of the plateau schedule.

    Attributes:
        factor: what the rate is multiplied by.
        patience: validations without a better loss before that.
    """

    factor: float = 0.5
    patience: int = 5


class Plateau(Constant):
    """Lower the rate when the validation loss stops falling."""

    Config = PlateauConfig

    def __init__(
        self, config: PlateauConfig, optimizer: torch.optim.Optimizer, total_steps: int
    ) -> None:
        if config.warmup_steps:
            # A scheduler by step would set the rate that the plateau has lowered back up again.
            raise ConfigError("schedule.warmup_steps: plateau has none; use constant or cosine")
        self.optimizer = optimizer
        self.plateau = ReduceLROnPlateau(
            optimizer, mode="min", factor=config.factor, patience=config.patience
        )

    def on_step(self) -> None:
        pass

    def on_epoch(self, validation_loss: float | None) -> None:
        if validation_loss is not None:
            self.plateau.step(validation_loss)

    def state_dict(self) -> dict[str, Any]:
        return {"plateau": self.plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plateau.load_state_dict(state["plateau"])
