"""One update of the weights: forward, loss and backward in as many parts as memory asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.core.types import Batch, Estimate, LossReport, Progress, Target
from mss.distill.base import TargetProvider
from mss.solver.checkpoint import rng_state, set_rng_state
from mss.solver.errors import TrainingError
from mss.solver.optim import Adam
from mss.solver.parts import Loss
from mss.solver.precision import Precision
from mss.solver.speed import AUTO, Speed

logger = logging.getLogger(__name__)


class Trainable(nn.Module):
    """What DDP wraps: its forward calls the model, so gradients are synchronised."""

    def __init__(self, model: Separator, compile_network: bool = False) -> None:
        super().__init__()
        self.model = model
        network = model.network
        if compile_network:
            network = torch.compile(network, dynamic=False)  # a training has one shape
        self._network = (network,)  # in a tuple: not registered as a module a second time

    def forward(self, mix: Tensor) -> Estimate:
        features = self.model.analyse(mix)
        outputs = self._network[0](*features.inputs)
        return self.model.synthesise(features, outputs)


def normalise_over_ranks(model: Separator, accumulate: int) -> Separator:
    """Make batch normalisation see the batches of all ranks, or warn where it can't."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    on_gpu = next(model.parameters()).device.type == "cuda"
    if distrib.world_size() > 1 and on_gpu:
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        model = convert(model)
    elif distrib.world_size() > 1:
        logger.warning(
            "This model normalises by batch, and on CPUs each of the %d ranks by its own share: "
            "the result is not that of one process",
            distrib.world_size(),
        )
    if accumulate != 1:
        logger.warning("This model normalises by batch: with misc.accumulate, by each part")
    return model


@dataclass
class UpdateReport:
    """What one rank saw of an update: sums, to be added over ranks, and the weights they are of.

    Attributes:
        sums: of the loss and of its parts, each times its weight.
        weights: of the same.
        norm: L2 norm of all gradients, the same on every rank.
        waves: the estimates [B, S, C, T] of this rank's share, detached, where they were asked for.
    """

    sums: dict[str, float]
    weights: dict[str, float]
    norm: float
    waves: Tensor | None = None

    @property
    def loss(self) -> float:
        """Mean over this rank's share of the batch."""
        return self.sums["loss"] / self.weights["loss"] if self.weights["loss"] else 0.0


class NotFiniteLossError(TrainingError):
    """The loss is NaN or infinite; the weights are as they were."""

    def __init__(self, value: float) -> None:
        super().__init__(f"the loss is {value}")
        self.value = value


class Updater:
    """Makes the updates of a model, over all ranks and parts of a batch.

    The result is that of one process that sees the global batch at once: each part's loss enters
    with its share of what the loss is a mean over, and the gradients are summed before they are
    clipped. (Batch normalisation alone sees its part.)
    """

    def __init__(
        self,
        model: Separator,
        loss: Loss,
        optim: Adam,
        precision: Precision,
        speed: Speed,
        targets: TargetProvider | None = None,
    ) -> None:
        """Wrap the model for training; it is on its device.

        Args:
            model: of which the weights are updated.
            loss: to minimise.
            optim: of the model's parameters.
            precision: the number format.
            speed: how it is computed.
            targets: what `target` asks; None: only given targets are learned from.
        """
        self.loss = loss
        self.optim = optim
        self.precision = precision
        self.parts = speed.accumulate
        self.targets = targets
        self._trainable = Trainable(model, speed.compile)
        self.trainable: nn.Module = self._trainable
        if distrib.world_size() > 1:
            device = next(model.parameters()).device
            self.trainable = DistributedDataParallel(
                self._trainable,
                device_ids=[device] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
            )

    def target(self, batch: Batch, progress: Progress) -> Target:
        """Return what the model should give for a batch.

        Raises:
            TrainingError: the memory does not suffice for a teacher.
        """
        assert self.targets is not None
        try:
            target = self.targets(batch, None, progress)
            if self.parts == AUTO:
                self._find_parts(batch, target)
                # once more, in these parts: as a run that knows them already has it
                del target  # no update holds two
                target = self.targets(batch, None, progress)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the memory does not hold the teacher of this batch ({error}); compute a batch in "
                f"more parts by misc.accumulate ({self.parts or 'a segment each'} now), which "
                "changes no result, or take a smaller teacher"
            ) from error
        return target

    def __call__(self, batch: Batch, target: Target, keep_waves: bool = False) -> UpdateReport:
        """Update the weights by one batch (this rank's share of it).

        Args:
            batch: what the model is given.
            target: what it should give.
            keep_waves: hand the estimates out.

        Raises:
            NotFiniteLossError, GradientError: no step was made.
            TrainingError: the memory did not suffice.
        """
        if self.parts == AUTO:
            self._find_parts(batch, target)
        try:
            report = self._accumulate(batch, target, self.parts, keep_waves)
            report.norm = self.precision.step(self.optim).item()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the memory does not hold this update ({error}); compute a batch in parts by "
                f"misc.accumulate={2 * self.parts}, which changes no result, or take a smaller "
                "model"
            ) from error
        return report

    def _accumulate(
        self, batch: Batch, target: Target, count: int, keep_waves: bool
    ) -> UpdateReport:
        """Leave the gradients of the global batch's loss in the parameters."""
        self.optim.zero_grad()
        mixes, targets = _mix(batch, target).chunk(count), target.chunk(count)
        weights = [self.loss.weight(part) for part in targets]
        shares = self._shares(weights)
        report = UpdateReport({}, {}, 0.0)
        waves = []
        for index, (mix, part, share) in enumerate(zip(mixes, targets, shares, strict=True)):
            with self._synchronised(index == len(mixes) - 1):
                with self.precision.autocast():
                    estimate = self.trainable(mix)
                loss = self.loss(estimate, part)
                _add(report, loss, weights[index].item())
                self.precision.backward(loss.total if share is None else loss.total * share)
            if keep_waves:
                waves.append(estimate.wave.detach())
        report.waves = torch.cat(waves) if waves else None
        return report

    def _shares(self, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the factor of each part's loss; None: 1, exactly."""
        if len(weights) == 1 and distrib.world_size() == 1:
            return [None]
        whole = distrib.sum_over_ranks(torch.stack(list(weights)).sum())
        # DDP takes the mean over ranks where this is a sum. A batch of which nothing is known has
        # no gradient, whatever its share: not 0 / 0.
        tiny = torch.finfo(whole.dtype).tiny
        return [weight * distrib.world_size() / whole.clamp_min(tiny) for weight in weights]

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients in the last part's backward alone."""
        if last or not isinstance(self.trainable, DistributedDataParallel):
            return nullcontext()
        no_sync: AbstractContextManager[None] = self.trainable.no_sync()
        return no_sync

    # -- how many parts fit ------------------------------------------------------------------

    def _find_parts(self, batch: Batch, target: Target) -> None:
        """Take the fewest parts, a power of two, that the memory of every rank holds.

        Forward and backward are tried on the first batch, beside what the optimiser and the
        teachers will need; the model, the teachers and the generators are left as they were.
        """
        if distrib.world_size() > 1 and getattr(self.loss, "compares_items", False):
            # each is an exchange, which ranks that try unequally often would not all join
            raise ConfigError(
                "misc.accumulate: 0 can't be found out over several processes for a loss that "
                "compares the items of a batch; give a number of parts"
            )
        if any(isinstance(m, nn.SyncBatchNorm) for m in self._trainable.modules()):
            # its forward is an exchange, in which a rank out of memory would leave the others
            raise ConfigError(
                "misc.accumulate: 0 can't be found out for a model that normalises by batch over "
                "several GPUs; give a number of parts"
            )
        generators = rng_state()
        buffers = [buffer.clone() for buffer in self._trainable.buffers()]
        found = max(distrib.gather(self._try_parts(batch, target)))
        with torch.no_grad():
            for buffer, before in zip(self._trainable.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.optim.zero_grad()
        set_rng_state(generators)
        logger.info("misc.accumulate: a batch is computed in %d part(s)", found)
        self.parts = found
        if self.targets is not None:
            self.targets.compute_in(found)

    def _try_parts(self, batch: Batch, target: Target) -> int:
        items = batch.mix.shape[0]
        count = 1
        while True:
            try:
                self._try(batch, target, count)
                return count
            except torch.OutOfMemoryError as error:
                if count >= items:
                    raise TrainingError(
                        f"the memory does not hold a single segment ({error}); shorten "
                        "train.segment or take a smaller model"
                    ) from error
            # outside of the except clause, which holds on to the tensors of the failed try
            self.optim.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            count = min(2 * count, items)

    def _try(self, batch: Batch, target: Target, count: int) -> None:
        """Compute the first of `count` parts twice: beside gradients the second needs more."""
        mix, part = _mix(batch, target).chunk(count)[0], target.chunk(count)[0]
        missing = 0 if self.optim.optimizer.state else 2  # moments, which a resume has already
        moments = [torch.empty_like(p) for p in self.optim.parameters for _ in range(missing)]
        for _ in range(2):
            with self._taught(batch, count):
                with self.precision.autocast():
                    estimate = self._trainable(mix)
                self.loss(estimate, part).total.backward()  # type: ignore[no-untyped-call]
        del moments

    def _taught(self, batch: Batch, count: int) -> AbstractContextManager[None]:
        """Have the first of `count` parts taught, and hold what that leaves in memory."""
        if self.targets is None:
            return nullcontext()
        return self.targets.rehearsal(batch.mix.chunk(count)[0])


def _mix(batch: Batch, target: Target) -> Tensor:
    """Return what the model is given: a target may ask for another mix than the batch's."""
    return batch.mix if target.mix is None else target.mix


def _add(report: UpdateReport, loss: LossReport, weight: float) -> None:
    """Add a part's loss to the report.

    Raises:
        NotFiniteLossError: it is NaN or infinite.
    """
    value = loss.total.item()
    if not torch.isfinite(loss.total):
        raise NotFiniteLossError(value)
    entries = {"loss": (value, weight)}
    for name, part in loss.parts.items():
        # a part is NaN where nothing in the batch is known of its source: its weight is 0
        known = float(loss.part_weights.get(name, weight))
        entries[f"loss_{name}"] = (part.item() if known else 0.0, known)
    for name, (mean, of) in entries.items():
        report.sums[name] = report.sums.get(name, 0.0) + mean * of
        report.weights[name] = report.weights.get(name, 0.0) + of
