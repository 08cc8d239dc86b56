"""What a solver is given: finished parts, and the run-level values of its config."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import Batch, Estimate, LossReport, Seconds, Target
from mss.distill.base import TargetProvider
from mss.solver.ema import Ema
from mss.solver.optim import Adam
from mss.solver.precision import PrecisionName
from mss.solver.schedule import Schedule
from mss.solver.speed import Speed

Metrics = dict[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """Run-level keys that decide what is learned.

    Attributes:
        epochs: passes of `items` segments each.
        items: segments an epoch, over all ranks.
        batch_size: segments an update, over all ranks.
        segment: seconds of one training crop; None: the model's own segment.
        precision: number format of the network; weights and loss are float32 in any case.
        fixed_crops: every epoch has the crops of the first one, in another order.
    """

    epochs: int
    items: int
    batch_size: int
    segment: Seconds | None = None
    precision: PrecisionName = "float32"
    fixed_crops: bool = False

    def __post_init__(self) -> None:
        for key in ("epochs", "items", "batch_size"):
            if getattr(self, key) < 1:
                raise ConfigError(f"train.{key}: {getattr(self, key)} is below 1")
        if self.items < self.batch_size:
            raise ConfigError(
                f"train.items: {self.items} segments do not fill one batch of {self.batch_size}"
            )
        if self.segment is not None and not 0 < self.segment < math.inf:
            raise ConfigError(f"train.segment: {self.segment} s is not a positive number")

    @property
    def steps(self) -> int:
        """Updates an epoch; an incomplete last batch is left out."""
        return self.items // self.batch_size


@dataclass(frozen=True)
class ValidConfig:
    """Keys of the validation.

    Attributes:
        metric: the best model is chosen by this one.
        every: epochs from one full validation to the next; the last epoch has one in any case.
        subset: songs to score at the epochs between, 0: none.
    """

    metric: str = "nsdr"
    every: int = 1
    subset: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"valid.every: {self.every} is below 1")
        if self.subset < 0:
            raise ConfigError(f"valid.subset: {self.subset} is negative")
        if self.subset and self.every == 1:
            raise ConfigError(
                "valid.subset: every validation is a full one; give valid.every, such as 10"
            )

    def is_full(self, epoch: int, epochs: int) -> bool:
        """Whether `epoch` (from 0) of `epochs` is validated on all songs."""
        return (epoch + 1) % self.every == 0 or epoch + 1 == epochs


@dataclass(frozen=True)
class RunOptions:
    """What changes no result: where a run keeps its state, how it computes and tells of itself.

    Attributes:
        folder: of this run.
        device: of the model.
        checkpoint_steps: a checkpoint also every so many updates, 0: at epoch ends only.
        progress: show bars (they go to standard error).
        log_seconds: from one line of progress to the next where there is no bar, 0: none.
        speed: how the updates are computed.
    """

    folder: Path
    device: torch.device
    checkpoint_steps: int = 0
    progress: bool = True
    log_seconds: float = 60.0
    speed: Speed = field(default_factory=Speed)


class Augment(Protocol):
    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch: ...


class Link(Protocol):
    """Where metrics are reported, an epoch at a time (Dora's XP link)."""

    def update_history(self, history: list[Metrics]) -> None: ...


class Loss(Protocol):
    """A mean over the items and sources of a batch, by the weights of the target."""

    def __call__(self, estimate: Estimate, target: Target) -> LossReport: ...

    def weight(self, target: Target) -> Tensor:
        """Return what the total is a mean over (scalar).

        The totals of a batch's parts, averaged by it, are the total of the batch.
        """
        ...

    def on_epoch(self, epoch: int) -> None:
        """Take notice of the epoch that begins or goes on, from 0."""
        ...


EpochBatches = Callable[[int, int], Iterable[Batch]]
"""(epoch, first step) -> that epoch's batches from that step on.

A batch is a function of its place alone: all but the first of a call are fetched without a draw
from the global generators (what the start of a call draws is given back, see `Solver`).
"""
Validate = Callable[[Separator, bool], Metrics]
"""(model, all songs or the subset) -> its scores over whole songs."""
Test = Callable[[Separator], Metrics]
"""Score a model over the songs of the test."""


@dataclass
class Parts:
    """Everything a solver works with."""

    model: Separator
    augment: Augment
    targets: TargetProvider
    loss: Loss
    optim: Adam
    schedule: Schedule
    ema: Ema
    batches: EpochBatches
    validate: Validate
    test: Test | None
    metric: str
    higher_is_better: bool
