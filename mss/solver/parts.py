"""What a solver is given: finished parts, and the run-level values of its config."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import Batch, Estimate, LossReport, Seconds, Target
from mss.distill.base import TargetProvider
from mss.solver.ema import Ema
from mss.solver.optim import Adam
from mss.solver.schedule import Schedule

Metrics = dict[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """Run-level keys that decide what is learned.

    Attributes:
        epochs: passes of `items` segments each.
        items: segments an epoch, over all ranks.
        batch_size: segments an update, over all ranks.
        segment: seconds of one training crop; None: the model's own segment.
    """

    epochs: int
    items: int
    batch_size: int
    segment: Seconds | None = None

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
class RunOptions:
    """What changes no result: where a run keeps its state and how it tells of itself.

    Attributes:
        folder: of this run.
        device: of the model.
        checkpoint_steps: a checkpoint also every so many updates, 0: at epoch ends only.
        progress: show bars (they go to standard error).
    """

    folder: Path
    device: torch.device
    checkpoint_steps: int = 0
    progress: bool = True


class Augment(Protocol):
    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch: ...


class Link(Protocol):
    """Where metrics are reported, an epoch at a time (Dora's XP link)."""

    def update_history(self, history: list[Metrics]) -> None: ...


Loss = Callable[[Estimate, Target], LossReport]
EpochBatches = Callable[[int, int], Iterable[Batch]]
"""(epoch, first step) -> that epoch's batches from that step on.

A batch is a function of its place alone: all but the first of a call are fetched without a draw
from the global generators (what the start of a call draws is given back, see `Solver`).
"""
Evaluate = Callable[[Separator], Metrics]
"""Score a model over whole tracks."""


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
    validate: Evaluate
    test: Evaluate | None
    metric: str
    higher_is_better: bool
