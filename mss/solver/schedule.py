"""Learning-rate schedules, stepped after every update; plateau also listens to the validation.

A rate is a function of the config and of little state (the updates done, or how often the plateau
was met), never of the rate before it. So a resumed run has the very rates of an undisturbed one,
and one that goes on with other values has the rates of those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mss.core.errors import ConfigError

WARMUP_START = 0.01


@dataclass(frozen=True)
class ScheduleConfig:
    """Keys of every schedule.

    Attributes:
        warmup_steps: updates over which the rate grows linearly from 1 % of optim.lr to all of it.
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not self.warmup_steps >= 0:
            raise ConfigError(f"schedule.warmup_steps: {self.warmup_steps} is negative")


@dataclass(frozen=True)
class FadingConfig(ScheduleConfig):
    """Keys of the schedules that know how far a run is.

    Attributes:
        fade: what the rate has lost in the last epoch, as a share, after falling by the same amount
            from epoch to epoch: times 1 - fade (t + 1) / T in epoch t = 1 .. T - 1. It is what
            distill=pskd does to the gradient of a squared error with alpha = fade and
            distill.warmup=1, so it is the control of such a run. (Of one with a longer warm-up it
            is none: the rate falls from the second epoch on, whoever teaches by then.)
    """

    fade: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fade < 1:
            raise ConfigError(f"schedule.fade: {self.fade} is not in [0, 1)")


class Schedule:
    """Sets the rate of every parameter group to a share of what the optimiser started with."""

    Config: ClassVar[type[ScheduleConfig]] = ScheduleConfig
    kind: ClassVar[str]
    """Name of the schedule in a checkpoint."""

    def __init__(
        self,
        config: ScheduleConfig,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        epochs: int = 1,
    ) -> None:
        """Set the rate of the first update.

        Args:
            config: keys of the schedule.
            optimizer: as it was made: its rates are those of a share of 1.
            total_steps: updates of the whole run.
            epochs: of the whole run.
        """
        self.config: Any = config
        self.optimizer = optimizer
        self.total_steps = total_steps
        self.epochs = epochs
        self.full_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.set_rate()

    def share(self) -> float:
        """Return the share of the full rate that the next update is made with."""
        raise NotImplementedError

    def set_rate(self) -> None:
        """Give the optimiser the rate of the next update."""
        share = self.share()
        for group, full in zip(self.optimizer.param_groups, self.full_rates, strict=True):
            group["lr"] = full * share

    @property
    def rate(self) -> float:
        """The rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def on_step(self) -> None:
        """Call after every update."""

    def on_epoch(self, validation_loss: float | None) -> None:
        """Call after every validation, with the loss of the weights in training."""

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the position back and set the rate that the config gives there.

        Raises:
            ConfigError: the state is of another kind of schedule.
        """
        if state.get("kind") != self.kind:
            raise ConfigError(
                f"schedule.name: the checkpoint is of {state.get('kind')!r}, the run has "
                f"{self.kind!r}, which can't change in a running run; start a new one"
            )


class Constant(Schedule):
    """The same rate throughout, after the warm-up."""

    Config = FadingConfig
    kind: ClassVar[str] = "constant"

    def __init__(
        self,
        config: FadingConfig,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        epochs: int = 1,
    ) -> None:
        if config.warmup_steps >= total_steps:
            raise ConfigError(
                f"schedule.warmup_steps: {config.warmup_steps} leaves nothing of the run's "
                f"{total_steps} updates"
            )
        self.position = 0  # updates done
        super().__init__(config, optimizer, total_steps, epochs)

    def share(self) -> float:
        warmup = self.config.warmup_steps
        if self.position < warmup:
            share = WARMUP_START + (1 - WARMUP_START) * self.position / float(warmup)
        else:
            share = self.after_warmup(self.position - warmup, self.total_steps - warmup)
        return share * self._unfaded()

    def _unfaded(self) -> float:
        """Return what config.fade leaves of the rate."""
        epoch = self.position * self.epochs // self.total_steps
        return (
            1.0 if epoch == 0 else 1 - self.config.fade * min(epoch + 1, self.epochs) / self.epochs
        )

    def after_warmup(self, step: int, steps: int) -> float:
        """Return the share at `step` of the `steps` after the warm-up."""
        return 1.0

    def on_step(self) -> None:
        self.position += 1
        self.set_rate()

    def state_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position = state["position"]
        self.set_rate()


@dataclass(frozen=True)
class CosineConfig(FadingConfig):
    """Keys of the cosine schedule.

    Attributes:
        final: the last rate, as a share of optim.lr.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.final <= 1:
            raise ConfigError(f"schedule.final: {self.final} is not in [0, 1]")


class Cosine(Constant):
    """Half a cosine from optim.lr down to `final` of it (Loshchilov & Hutter 2017, no restart)."""

    Config = CosineConfig
    kind = "cosine"

    def after_warmup(self, step: int, steps: int) -> float:
        final = float(self.config.final)
        # a run shortened by accept_changes may stand behind its end
        phase = math.pi * min(step, steps) / steps
        return final + (1 - final) * (1 + math.cos(phase)) / 2


@dataclass(frozen=True)
class PlateauConfig(ScheduleConfig):
    """Keys of the plateau schedule.

    Attributes:
        factor: what the rate is multiplied by.
        patience: validations without a better loss before that.
    """

    factor: float = 0.5
    patience: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps:
            raise ConfigError("schedule.warmup_steps: plateau has none; use constant or cosine")
        if not 0 < self.factor < 1:
            raise ConfigError(f"schedule.factor: {self.factor} is not between 0 and 1")
        if not self.patience >= 0:
            raise ConfigError(f"schedule.patience: {self.patience} is negative")


class Plateau(Schedule):
    """Lower the rate when the validation loss stops falling.

    A loss is better if it is lower by a 10 000th of the best one's size, so that noise in the last
    digits of a converged loss is no progress.
    """

    Config = PlateauConfig
    kind = "plateau"
    margin: ClassVar[float] = 1e-4

    def __init__(
        self,
        config: PlateauConfig,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        epochs: int = 1,
    ) -> None:
        self.reduction = 1.0  # product of the factors so far
        self.best: float | None = None
        self.waited = 0  # validations since the best, or since the last reduction
        super().__init__(config, optimizer, total_steps, epochs)

    def share(self) -> float:
        return self.reduction

    def on_epoch(self, validation_loss: float | None) -> None:
        if validation_loss is None:
            return
        # the margin by the size: a loss may be negative (decibels)
        if self.best is None or validation_loss < self.best - self.margin * abs(self.best):
            self.best, self.waited = validation_loss, 0
        else:
            self.waited += 1
        if self.waited > self.config.patience:
            self.reduction *= self.config.factor
            self.waited = 0
            self.set_rate()

    def state_dict(self) -> dict[str, Any]:
        state = {"reduction": self.reduction, "best": self.best, "waited": self.waited}
        return {"kind": self.kind, **state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.reduction, self.best = state["reduction"], state["best"]
        self.waited = state["waited"]
        self.set_rate()
