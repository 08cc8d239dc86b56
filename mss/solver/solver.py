"""The training loop: train, validate, keep the best, test; resumable at any checkpoint.

The solver is given finished objects (`mss.build` makes them) and knows no configuration of theirs,
no architecture and no distillation method.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import Batch, Estimate, LossReport, Progress, Seconds, Target
from mss.distill.base import TargetProvider
from mss.solver.averages import Averages
from mss.solver.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from mss.solver.ema import Ema
from mss.solver.guards import check_loss, check_validation

logger = logging.getLogger(__name__)

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
        if self.segment is not None and self.segment <= 0:
            raise ConfigError(f"train.segment: {self.segment} s is not positive")

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
"""(epoch, first step) -> that epoch's batches from that step on."""
Evaluate = Callable[[Separator], Metrics]
"""Score a model over whole tracks."""


@dataclass
class Parts:
    """Everything a solver works with."""

    model: Separator
    augment: Augment
    targets: TargetProvider
    loss: Loss
    optim: Any
    schedule: Any
    ema: Ema
    batches: EpochBatches
    validate: Evaluate
    test: Evaluate | None
    metric: str
    higher_is_better: bool


class Trainable(nn.Module):
    """What DDP wraps: its forward calls the model, so gradients are synchronised."""

    def __init__(self, model: Separator) -> None:
        super().__init__()
        self.model = model

    def forward(self, mix: Tensor) -> Estimate:
        estimate: Estimate = self.model(mix)
        return estimate


class Solver:
    """Runs a training to its end, from wherever its folder's checkpoint left it."""

    def __init__(self, parts: Parts, config: TrainConfig, options: RunOptions, link: Link) -> None:
        self.parts = parts
        self.config = config
        self.options = options
        self.link = link
        self.model = parts.model.to(options.device)
        self.trainable = Trainable(self.model)
        self.epoch = 0
        self.step = 0  # updates done in this epoch
        self.running = Averages()
        self.history: list[Metrics] = []
        self.best: dict[str, Any] | None = None
        self.tested = False
        self._rng: dict[str, Any] | None = None  # to restore before the next update

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> list[Metrics]:
        """Train until the last epoch, test the best model; returns the history."""
        self._resume()
        while self.epoch < self.config.epochs:
            metrics: Metrics = {"epoch": self.epoch + 1, "train": self._train_epoch()}
            metrics["valid"] = self._validate()
            self.parts.schedule.on_epoch(metrics["valid"].get("loss"))
            self.history.append(metrics)
            self.epoch, self.step, self.running = self.epoch + 1, 0, Averages()
            self._commit()
        if self.parts.test is not None and not self.tested:
            self.history[-1]["test"] = self._test()
            self.tested = True
            self._commit()
        return self.history

    def _train_epoch(self) -> Metrics:
        self.model.train()
        started = time.monotonic()
        first = self.step
        batches = iter(self.parts.batches(self.epoch, first))
        if self._rng is not None:  # after the loader's own start, which may draw
            set_rng_state(self._rng)
            self._rng = None
        bar = self._bar("train", self.config.steps, first)
        waited = 0.0
        while self.step < self.config.steps:
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            shown = self._update(batch)
            bar.set_postfix(shown, refresh=False)
            bar.update()
            self._checkpoint_between_steps()
        bar.close()
        self.parts.ema.on_epoch(self.model)
        self.parts.targets.on_epoch_end(self.model)
        seconds = time.monotonic() - started
        done = (self.config.steps - first) * self.config.batch_size
        metrics = self.running.means() | {
            "lr": self.parts.schedule.rate,
            "seconds": round(seconds, 2),
            "segments_per_second": round(done / seconds, 2) if seconds > 0 else 0.0,
            "data_wait": round(waited, 2),
        }
        self._summary("train", metrics)
        return metrics

    def _update(self, raw: Batch) -> dict[str, str]:
        """One update; this is the whole method of training."""
        progress = Progress(self.epoch, self.config.epochs, self.step, self.config.steps)
        batch = self.parts.augment(raw.to(self.options.device), self.epoch, self.step)
        target = self.parts.targets(batch, None, progress)
        loss = self.parts.loss(self.trainable(batch.mix), target)
        value = check_loss(loss, batch, target, progress, self.options.folder)
        norm = self.parts.optim.update(loss.total)
        self.parts.schedule.on_step()
        self.parts.ema.on_step(self.model)

        parts = {f"loss_{name}": part.item() for name, part in loss.parts.items()}
        # a part is NaN where nothing in the batch is known of its source; the total was checked
        known = {name: part for name, part in parts.items() if not math.isnan(part)}
        self.running.update({"loss": value, "grad_norm": norm.item(), **known})
        self.step += 1
        return {"loss": f"{self.running.means()['loss']:.4f}"}

    # -- validation, choice of the best, test ------------------------------------------------

    def _candidates(self) -> dict[str, Separator]:
        averaged: dict[str, Any] = self.parts.ema.candidates()
        return {"raw": self.model, **averaged}

    def _validate(self) -> Metrics:
        """Score the weights and their averages; keep the best ever seen."""
        started = time.monotonic()
        scored: dict[str, Metrics] = {}
        for name, model in self._candidates().items():
            scored[name] = self.parts.validate(model)
            check_validation(scored[name], self.parts.metric)
        sign = 1.0 if self.parts.higher_is_better else -1.0
        origin = max(scored, key=lambda name: sign * scored[name][self.parts.metric])
        metrics = dict(scored[origin])
        value = metrics[self.parts.metric]
        if self.best is None or sign * value > sign * self.best["value"]:
            state = self._candidates()[origin].state_dict()
            self.best = {
                "metric": self.parts.metric,
                "value": value,
                "epoch": self.epoch + 1,
                "origin": origin,
                "state": {key: tensor.detach().cpu().clone() for key, tensor in state.items()},
            }
        metrics["best"] = self.best["value"]
        metrics["origin"] = origin
        for name, scores in scored.items():
            if name != "raw":
                metrics[name] = scores[self.parts.metric]
        metrics["seconds"] = round(time.monotonic() - started, 2)
        self._summary("valid", metrics)
        return metrics

    def _test(self) -> Metrics:
        """Score the best model; the weights in training are put back afterwards."""
        assert self.best is not None and self.parts.test is not None
        current = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.best["state"])
        try:
            metrics = self.parts.test(self.model)
        finally:
            self.model.load_state_dict(current)
        self._summary("test", metrics)
        return metrics

    # -- checkpoints -------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optim": self.parts.optim.state_dict(),
            "schedule": self.parts.schedule.state_dict(),
            "ema": self.parts.ema.state_dict(),
            "targets": self.parts.targets.state_dict(),
            "rng": rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "running": self.running.state_dict(),
            "history": self.history,
            "best": self.best,
            "tested": self.tested,
        }

    def _commit(self) -> None:
        if distrib.is_main():
            save_checkpoint(checkpoint_path(self.options.folder), self._state())
            self.link.update_history(self.history)

    def _checkpoint_between_steps(self) -> None:
        every = self.options.checkpoint_steps
        due = every and self.step % every == 0 and self.step < self.config.steps
        if due and distrib.is_main():
            save_checkpoint(checkpoint_path(self.options.folder), self._state())

    def _resume(self) -> None:
        path = checkpoint_path(self.options.folder)
        if not path.exists():
            return
        state = load_checkpoint(path)
        self.model.load_state_dict(state["model"])
        self.parts.optim.load_state_dict(state["optim"])
        self.parts.schedule.load_state_dict(state["schedule"])
        self.parts.ema.load_state_dict(state["ema"])
        self.parts.targets.load_state_dict(state["targets"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.running.load_state_dict(state["running"])
        self.history, self.best, self.tested = state["history"], state["best"], state["tested"]
        self._rng = state["rng"]
        self.link.update_history(self.history)
        logger.info(
            "Resuming after %d epochs and %d of %d updates",
            self.epoch,
            self.step,
            self.config.steps,
        )

    # -- telling -----------------------------------------------------------------------------

    def _bar(self, stage: str, total: int, initial: int = 0) -> Any:
        return tqdm(
            total=total,
            initial=initial,
            desc=f"{stage} {self.epoch + 1}/{self.config.epochs}",
            leave=False,
            mininterval=0.5,
            disable=None if self.options.progress and distrib.is_main() else True,
        )

    def _summary(self, stage: str, metrics: Mapping[str, Any]) -> None:
        """Log one readable line for a stage."""
        shown = [f"{key} {_readable(value)}" for key, value in metrics.items()]
        epoch = min(self.epoch + 1, self.config.epochs)
        logger.info("%s %d/%d | %s", stage, epoch, self.config.epochs, " | ".join(shown))


def _readable(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
