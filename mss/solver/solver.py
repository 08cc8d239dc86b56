"""The training loop: train, validate, keep the best, test; resumable at any checkpoint.

The solver is given finished objects (`mss.build` makes them) and knows no configuration of theirs,
no architecture and no distillation method. Every rank of a run has one: they agree on each update,
on the scores and on when to stop, and the main one alone writes.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch

from mss.core import distrib
from mss.core.errors import ConfigError, DataError
from mss.core.separator import Separator
from mss.core.types import Batch, Progress
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
from mss.solver.folder import remove_leftovers
from mss.solver.guards import (
    check_validation,
    failure,
    gradient_cause,
    not_finite_cause,
    zero_cause,
)
from mss.solver.parts import Link, Loss, Metrics, Parts, RunOptions, TrainConfig, ValidConfig
from mss.solver.precision import Precision
from mss.solver.progress import StageProgress, log_stage, peak_gib, reset_peak
from mss.solver.resume import CONTENT, check_fits, fitting, own_rng_state
from mss.solver.stop import Stopped, StopRequest
from mss.solver.update import NotFiniteLossError, Updater, UpdateReport

__all__ = ["Link", "Loss", "Metrics", "Parts", "RunOptions", "Solver", "TrainConfig", "ValidConfig"]

logger = logging.getLogger(__name__)


class Solver:
    """Runs a training to its end, from wherever its folder's checkpoint left it.

    `resume` comes first: it takes up the checkpoint. Then `run`. Whoever makes a solver holds the
    folder's claim (`FolderClaim`).
    """

    def __init__(
        self,
        parts: Parts,
        config: TrainConfig,
        valid: ValidConfig,
        options: RunOptions,
        link: Link,
        stop: StopRequest | None = None,
    ) -> None:
        self.parts = parts
        self.config = config
        self.valid = valid
        self.options = options
        self.link = link
        self.stop = stop or StopRequest()  # one that no signal reaches
        self.model = parts.model.to(options.device)
        self.precision = Precision(config.precision, options.device)
        self.updater: Updater | None = None  # made when the weights are there
        self.epoch = 0
        self.step = 0  # updates done in this epoch
        self.running = Averages()
        self.clock = Clock()
        self.trained: Metrics | None = None  # of an epoch that is still to be validated
        self.history: list[Metrics] = []
        self.best: dict[str, Any] | None = None
        self.tested = False
        self._rng: dict[str, Any] | None = None  # of the checkpoint, for the next update

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> list[Metrics]:
        """Train until the last epoch, test the best model; returns the history.

        Raises:
            Stopped: it was asked to; the checkpoint holds all that was done.
            TrainingError: there is nothing to learn from, or the weights diverged.
        """
        assert self.updater is not None, "resume() comes before run()"
        try:
            while self.epoch < self.config.epochs:
                self._epoch()
            if self.parts.test is not None and not self.tested:
                self.history[-1]["test"] = self._test()
                self.tested = True
                self._commit()
        except Stopped as stopped:
            self.stop.heed()
            logger.info("Signal %d: writing a checkpoint", stopped.signum)
            self._save()
            distrib.barrier()  # the first rank to end may take the others with it
            raise
        return self.history

    def _epoch(self) -> None:
        self.parts.loss.on_epoch(self.epoch)
        if self.trained is None:
            self.trained = self._train_epoch()
        metrics: Metrics = {"epoch": self.epoch + 1, "train": self.trained}
        metrics["valid"], raw_loss = self._validate()
        self.parts.schedule.on_epoch(raw_loss)
        self.history.append(metrics)
        self.epoch, self.step, self.trained = self.epoch + 1, 0, None
        self.running, self.clock = Averages(), Clock()
        self._commit()

    def _train_epoch(self) -> Metrics:
        self.model.train()
        self.clock = Clock(**self.clock.state_dict())
        reset_peak(self.options.device)
        first = self.step
        # A loader may draw from the global generators as it starts, at its first batch. That is
        # given back in every epoch, so that starting once more, in the middle, changes nothing.
        state = self._rng or rng_state()
        self._rng = None
        set_rng_state(state)
        batches = iter(self.parts.batches(self.epoch, first))
        progress = self._progress("train", self.config.steps, first)
        while self.step < self.config.steps:
            self.clock.tick()
            batch = next(batches)
            self.clock.tick(waiting=True)
            if self.step == first:
                set_rng_state(state)
            self._update(batch)
            progress.step(loss=f"{self.running.means()['loss']:.4f}")
            self._checkpoint_between_steps()
        progress.close()
        self.parts.ema.on_epoch(self.model)
        self.parts.targets.on_epoch_end(self.model)
        self.clock.tick()
        seconds = self.clock.seconds
        done = self.step * self.config.batch_size
        waits, peaks = zip(
            *distrib.gather((self.clock.data_wait, peak_gib(self.options.device))), strict=True
        )
        metrics = self.running.means() | {
            "lr": self.parts.schedule.rate,
            "seconds": round(seconds, 2),
            "segments_per_second": round(done / seconds, 2) if seconds > 0 else 0.0,
            "data_wait": round(max(waits), 2),  # of the slowest rank: the others wait for it
            "peak_gib": round(max(peaks), 3),
        }
        log_stage(self._title("train"), metrics)
        return metrics

    def _update(self, raw: Batch) -> None:
        """One update; this is the whole method of training."""
        assert self.updater is not None
        progress = Progress(self.epoch, self.config.epochs, self.step, self.config.steps)
        batch = self.parts.augment(raw.to(self.options.device), self.epoch, self.step)
        target = self.updater.target(batch, progress)
        try:
            report = self.updater(batch, target, self.parts.targets.needs_estimates)
        except NotFiniteLossError as error:
            cause = not_finite_cause(error.value, batch)
            raise failure(cause, batch, progress, self.folder) from error
        except GradientError as error:
            raise failure(gradient_cause(error), batch, progress, self.folder) from error
        self.parts.schedule.on_step()
        self.parts.ema.on_step(self.model)
        if report.waves is not None:
            self.parts.targets.on_estimate(batch, report.waves, progress)
        self.parts.targets.on_step(self.model)
        self.step += 1
        loss, signum = self._agree(report)
        if loss == 0.0:
            raise failure(zero_cause(target), batch, progress, self.folder)
        if signum:
            raise Stopped(signum)

    def _agree(self, report: UpdateReport) -> tuple[float, int]:
        """Share what every rank saw of an update.

        Returns:
            The loss of the global batch, and the signal that asked any rank to stop (0: none).
        """
        names = list(report.sums)
        signum = self.stop.signum
        own = [report.sums[name] for name in names] + [report.weights[name] for name in names]
        shared = distrib.sum_over_ranks(
            torch.tensor([*own, float(signum > 0), float(signum)], dtype=torch.float64)
        ).tolist()
        sums = dict(zip(names, zip(shared, shared[len(names) :], strict=False), strict=False))
        # of a part whose weight is 0 nothing is known
        means = {name: total / weight for name, (total, weight) in sums.items() if weight}
        self.running.update(means)
        if math.isfinite(report.norm):  # fp16 leaves an update out where it overflows
            self.running.update({"grad_norm": report.norm})
        asked, signals = shared[-2:]
        return means.get("loss", 0.0), round(signals / asked) if asked else 0

    # -- validation, choice of the best, test ------------------------------------------------

    def _candidates(self) -> dict[str, Separator]:
        averaged: dict[str, Any] = self.parts.ema.candidates()
        return {"raw": self.model, **averaged}

    def _validate(self) -> tuple[Metrics, float | None]:
        """Score the weights and their averages; keep the best ever seen.

        Between full validations (`valid.every`) a subset of the songs is scored, or none; the best
        is chosen by full ones alone.

        Returns:
            The scores of the best of them now, and the loss of the weights in training, where the
            validation gives one: a schedule steers those, whichever scores best.
        """
        started = time.monotonic()
        full = self.valid.is_full(self.epoch, self.config.epochs)
        if not full and not self.valid.subset:
            return {"full": False}, None
        scored: dict[str, Metrics] = {}
        for name, model in self._candidates().items():
            distrib.broadcast_buffers(model)
            scored[name] = self.parts.validate(model, full)
            check_validation(scored[name], self.parts.metric)
        sign = 1.0 if self.parts.higher_is_better else -1.0
        origin = max(scored, key=lambda name: sign * scored[name][self.parts.metric])
        metrics = dict(scored[origin])
        value = metrics[self.parts.metric]
        if full and (self.best is None or sign * value > sign * self.best["value"]):
            state = self._candidates()[origin].state_dict()
            self.best = {
                "metric": self.parts.metric,
                "value": value,
                "epoch": self.epoch + 1,
                "origin": origin,
                "state": {key: tensor.detach().cpu().clone() for key, tensor in state.items()},
            }
        metrics |= {"best": self.best["value"] if self.best else None, "origin": origin}
        for name, scores in scored.items():
            if name != "raw":
                metrics[name] = scores[self.parts.metric]
        metrics |= {"full": full, "seconds": round(time.monotonic() - started, 2)}
        log_stage(self._title("valid"), metrics)
        # losses of different songs can't be compared
        return metrics, scored["raw"].get("loss") if full else None

    def _test(self) -> Metrics:
        """Score the best model; the weights in training are put back afterwards."""
        assert self.best is not None and self.parts.test is not None
        current = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.best["state"])
        try:
            metrics = self.parts.test(self.model)
        finally:
            self.model.load_state_dict(current)
        log_stage(self._title("test"), metrics)
        return metrics

    # -- checkpoints -------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optim": self.parts.optim.state_dict(),
            "schedule": self.parts.schedule.state_dict(),
            "ema": self.parts.ema.state_dict(),
            "targets": self.parts.targets.state_dict(),
            "precision": self.precision.state_dict(),
            "rng": distrib.gather(self._rng or rng_state()),  # of every rank
            "epoch": self.epoch,
            "step": self.step,
            "running": self.running.state_dict(),
            "clock": self.clock.state_dict(),
            "trained": self.trained,
            "history": self.history,
            "best": self.best,
            "tested": self.tested,
        }

    def _save(self) -> None:
        """Write the checkpoint; every rank takes part."""
        self.clock.tick()
        state = self._state()
        if distrib.is_main():
            save_checkpoint(checkpoint_path(self.folder), state)

    def _commit(self) -> None:
        self._save()
        if distrib.is_main():
            self.link.update_history(self.history)

    def _checkpoint_between_steps(self) -> None:
        every = self.options.checkpoint_steps
        if every and self.step % every == 0 and self.step < self.config.steps:
            self._save()

    def resume(self) -> None:
        """Take up the run's checkpoint, where there is one.

        The state goes on; the values (rates, betas, the length of the schedule) are the config's.

        Raises:
            ConfigError: the checkpoint does not fit the run.
            DataError: the checkpoint is damaged.
        """
        path = checkpoint_path(self.folder)
        if distrib.is_main():
            remove_leftovers(self.folder)
        if path.exists():
            self._load(path)
        self._check_agreement()
        self.updater = Updater(
            self.model,
            self.parts.loss,
            self.parts.optim,
            self.precision,
            self.options.speed,
            self.parts.targets,
        )

    def _check_agreement(self) -> None:
        """Make sure that every rank stands where the main one does."""
        places = distrib.gather((self.epoch, self.step))
        for rank, place in enumerate(places):
            if place != places[0]:
                raise DataError(
                    f"{self.folder}: rank {rank} found another checkpoint (epoch, update {place}) "
                    f"than rank 0 {places[0]}; dora.dir must be a folder that all nodes share"
                )

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
            self.precision.load_state_dict(state["precision"])
            self.running.load_state_dict(state["running"])
            self.clock = Clock(**state["clock"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history, self.trained = state["history"], state["trained"]
        self._rng = own_rng_state(state["rng"])
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

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.options.folder

    def _title(self, stage: str) -> str:
        return f"{stage} {min(self.epoch + 1, self.config.epochs)}/{self.config.epochs}"

    def _progress(self, stage: str, total: int, done: int = 0) -> StageProgress:
        options = self.options
        return StageProgress(self._title(stage), total, done, options.progress, options.log_seconds)
