"""The training loop: train, validate, keep the best, test; resumable at any checkpoint.

The solver is given finished objects (`mss.build` makes them) and knows no configuration of theirs,
no architecture and no distillation method.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import Batch, Estimate, Progress
from mss.solver.averages import Averages
from mss.solver.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from mss.solver.clock import Clock
from mss.solver.errors import GradientError
from mss.solver.folder import FolderClaim, remove_leftovers
from mss.solver.guards import check_loss, check_validation, gradient_failure
from mss.solver.parts import Link, Loss, Metrics, Parts, RunOptions, TrainConfig
from mss.solver.resume import CONTENT, check_fits, fitting

__all__ = ["Link", "Loss", "Metrics", "Parts", "RunOptions", "Solver", "TrainConfig"]

logger = logging.getLogger(__name__)


class Trainable(nn.Module):
    """What DDP wraps: its forward calls the model, so gradients are synchronised."""

    def __init__(self, model: Separator) -> None:
        super().__init__()
        self.model = model

    def forward(self, mix: Tensor) -> Estimate:
        estimate: Estimate = self.model(mix)
        return estimate


class Solver:
    """Runs a training to its end, from wherever its folder's checkpoint left it.

    `resume` comes first: it claims the folder and takes up the checkpoint. Then `run`.
    """

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
        self.clock = Clock()
        self.history: list[Metrics] = []
        self.best: dict[str, Any] | None = None
        self.tested = False
        self._rng: dict[str, Any] | None = None  # of the checkpoint, for the next update
        self._resumed = False
        self._claim: FolderClaim | None = None  # of the main process

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> list[Metrics]:
        """Train until the last epoch, test the best model; returns the history.

        Call `resume` before: it is what keeps two processes out of one folder.
        """
        assert self._resumed, "resume() comes before run()"
        try:
            while self.epoch < self.config.epochs:
                self._epoch()
            if self.parts.test is not None and not self.tested:
                self.history[-1]["test"] = self._test()
                self.tested = True
                self._commit()
        finally:
            self._release()
        return self.history

    def _epoch(self) -> None:
        metrics: Metrics = {"epoch": self.epoch + 1, "train": self._train_epoch()}
        metrics["valid"], raw_loss = self._validate()
        self.parts.schedule.on_epoch(raw_loss)
        self.history.append(metrics)
        self.epoch, self.step, self.running, self.clock = self.epoch + 1, 0, Averages(), Clock()
        self._commit()

    def _train_epoch(self) -> Metrics:
        self.model.train()
        self.clock = Clock(**self.clock.state_dict())
        first = self.step
        # A loader may draw from the global generators as it starts, at its first batch. That is
        # given back in every epoch, so that starting once more, in the middle, changes nothing.
        state = self._rng or rng_state()
        self._rng = None
        batches = iter(self.parts.batches(self.epoch, first))
        bar = self._bar("train", self.config.steps, first)
        while self.step < self.config.steps:
            self.clock.tick()
            batch = next(batches)
            self.clock.tick(waiting=True)
            if self.step == first:
                set_rng_state(state)
            shown = self._update(batch)
            bar.set_postfix(shown, refresh=False)
            bar.update()
            self._checkpoint_between_steps()
        bar.close()
        self.parts.ema.on_epoch(self.model)
        self.parts.targets.on_epoch_end(self.model)
        self.clock.tick()
        seconds = self.clock.seconds
        done = self.step * self.config.batch_size
        metrics = self.running.means() | {
            "lr": self.parts.schedule.rate,
            "seconds": round(seconds, 2),
            "segments_per_second": round(done / seconds, 2) if seconds > 0 else 0.0,
            "data_wait": round(self.clock.data_wait, 2),
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
        try:
            norm = self.parts.optim.update(loss.total)
        except GradientError as error:
            raise gradient_failure(error, value, batch, progress, self.options.folder) from error
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

    def _validate(self) -> tuple[Metrics, float | None]:
        """Score the weights and their averages; keep the best ever seen.

        Returns:
            The scores of the best of them now, and the loss of the weights in training, where the
            validation gives one: a schedule steers those, whichever scores best.
        """
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
        return metrics, scored["raw"].get("loss")

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
            "clock": self.clock.state_dict(),
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
            self.clock.tick()
            save_checkpoint(checkpoint_path(self.options.folder), self._state())

    def resume(self) -> None:
        """Claim the run's folder and take up its checkpoint, where there is one.

        The state goes on; the values (rates, betas, the length of the schedule) are the config's.

        Raises:
            ConfigError: another process trains this run, or the checkpoint does not fit it.
            DataError: the checkpoint is damaged.
        """
        if distrib.is_main():
            self._claim = FolderClaim(self.options.folder)
        try:
            if self._claim:
                remove_leftovers(self.options.folder)
            path = checkpoint_path(self.options.folder)
            if path.exists():
                self._load(path)
        except BaseException:
            self._release()
            raise
        self._resumed = True

    def _release(self) -> None:
        if self._claim:
            self._claim.release()
            self._claim = None

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path, CONTENT)
        parts = self.parts
        weights = self.model.state_dict()
        check_fits(path, state, weights, parts.optim, parts.schedule, parts.ema, parts.targets)
        with fitting(path):
            self.model.load_state_dict(state["model"])
            parts.optim.load_state_dict(state["optim"])
            parts.schedule.load_state_dict(state["schedule"])
            parts.ema.load_state_dict(state["ema"])
            parts.targets.load_state_dict(state["targets"])
            self.running.load_state_dict(state["running"])
            self.clock = Clock(**state["clock"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history, self._rng = state["history"], state["rng"]
        ended = self.epoch >= self.config.epochs
        self.best = self._still_best(state["best"], path, ended)
        self.tested = state["tested"] and ended  # a run made longer is tested once more
        if distrib.is_main():
            self.link.update_history(self.history)
        logger.info(
            "Resuming after %d epochs and %d of %d updates",
            self.epoch,
            self.step,
            self.config.steps,
        )

    def _still_best(
        self, best: dict[str, Any] | None, path: Path, ended: bool
    ) -> dict[str, Any] | None:
        """Return the checkpoint's best model, if today's metric chose it."""
        if best is None or best["metric"] == self.parts.metric:
            return best
        change = f"its best model was chosen by {best['metric']}, not by {self.parts.metric}"
        if ended:
            raise ConfigError(
                f"{path}: this run has no epoch left, and {change}; restore valid.metric, "
                "raise train.epochs or start a new run"
            )
        logger.warning("The best model so far is dropped: %s (valid.metric)", change)
        return None

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
