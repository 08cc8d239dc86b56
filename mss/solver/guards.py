"""Checks that stop a training which learns nothing, before it wastes a night."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mss.core.files import atomic_path
from mss.core.types import Batch, LossReport, Progress, Target
from mss.solver.errors import GradientError, TrainingError

logger = logging.getLogger(__name__)


def check_loss(
    loss: LossReport, batch: Batch, target: Target, progress: Progress, folder: Path
) -> float:
    """Return the loss as a number, if it is one to learn from.

    Raises:
        TrainingError: it is NaN, infinite or exactly zero; the batch lies in `folder`.
    """
    value = loss.total.item()
    if math.isfinite(value) and value != 0.0:
        return value
    if value == 0.0:
        cause = _zero_cause(target)
    elif not torch.isfinite(batch.mix).all():
        cause = "the batch itself holds NaN or infinities: run python -m tools.check_data"
    else:
        cause = (
            "the data is finite, so the weights diverged: try a lower optim.lr or optim.clip_norm"
        )
    raise failure(f"the loss is {value}; {cause}", batch, progress, folder)


def gradient_failure(
    error: GradientError, loss: float, batch: Batch, progress: Progress, folder: Path
) -> TrainingError:
    """Return the error that ends a training whose loss was finite and its gradient not."""
    cause = (
        f"{error}, though the loss is {loss:.4g}: some operation has no finite derivative there "
        "(a root or a division at 0?), or the weights diverged: try a lower optim.lr"
    )
    return failure(cause, batch, progress, folder)


def failure(cause: str, batch: Batch, progress: Progress, folder: Path) -> TrainingError:
    """Save the batch; return the error that says where and why the training stopped."""
    position = f"epoch {progress.epoch + 1}, update {progress.step + 1}"
    return TrainingError(f"{position}: {cause}. {_save_batch(batch, progress, folder)}")


def _save_batch(batch: Batch, progress: Progress, folder: Path) -> str:
    """Save the batch of a failed update; return a sentence on where it lies, or why not."""
    path = folder / "failed_batch.th"
    try:
        content = {
            "mix": batch.mix.cpu(),
            "stems": batch.stems.cpu(),
            "names": list(batch.names),
            "epoch": progress.epoch,
            "step": progress.step,
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError
        return f"The batch could not be saved ({error})"
    return f"The batch lies in {path}"


def _zero_cause(target: Target) -> str:
    if not bool(target.weight.any()):
        return "no source of this batch has a weight (nothing is labelled)"
    if not bool(target.sources.any()):
        return "every target of this batch is silent: check dset and targets"
    return "the estimate equals the target exactly, which no training reaches: check the loss"


def check_validation(metrics: Mapping[str, Any], name: str) -> None:
    """Make sure that the metric which picks the best model is there and is a number.

    Raises:
        TrainingError: it is not.
    """
    if name not in metrics:
        raise TrainingError(f"valid.metric: the validation gave no {name!r}, only {list(metrics)}")
    if not math.isfinite(metrics[name]):
        raise TrainingError(
            f"valid.metric: {name} is {metrics[name]} over the validation tracks; "
            "is every stem of them silent, or did the weights diverge?"
        )
