"""Checks that stop a training which learns nothing, before it wastes a night."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mss.core import distrib
from mss.core.types import Batch, Progress, Target
from mss.solver.checkpoint import save_tensors
from mss.solver.errors import GradientError, TrainingError

logger = logging.getLogger(__name__)


def not_finite_cause(value: float, batch: Batch) -> str:
    """Say why a loss may be NaN or infinite."""
    if not torch.isfinite(batch.mix).all():
        cause = "the batch itself holds NaN or infinities: run python -m tools.check_data"
    else:
        cause = (
            "the data is finite, so the weights diverged: try a lower optim.lr or optim.clip_norm"
        )
    return f"the loss is {value}; {cause}"


def gradient_cause(error: GradientError) -> str:
    """Say why a gradient may not be finite though the loss is."""
    return (
        f"{error}, though the loss is finite: some operation has no finite derivative there "
        "(a root or a division at 0?), or the weights diverged: try a lower optim.lr"
    )


def failure(cause: str, batch: Batch, progress: Progress, folder: Path) -> TrainingError:
    """Save the batch; return the error that says where and why the training stopped."""
    position = f"epoch {progress.epoch + 1}, update {progress.step + 1}"
    return TrainingError(f"{position}: {cause}. {_save_batch(batch, progress, folder)}")


def _save_batch(batch: Batch, progress: Progress, folder: Path) -> str:
    """Save the batch of a failed update; return a sentence on where it lies, or why not."""
    suffix = f"_{distrib.rank()}" if distrib.rank() else ""  # of each rank its share
    path = folder / f"failed_batch{suffix}.th"
    try:
        content = {
            "mix": batch.mix.cpu(),
            "stems": batch.stems.cpu(),
            "names": list(batch.names),
            "epoch": progress.epoch,
            "step": progress.step,
        }
        save_tensors(path, content)
    except OSError as error:
        return f"The batch could not be saved ({error})"
    return f"The batch lies in {path}"


def zero_cause(target: Target) -> str:
    """Say why a loss may be exactly zero."""
    if not bool(target.weight.any()):
        cause = "no source of this batch has a weight (nothing is labelled)"
    elif not bool(target.sources.any()):
        cause = "every target of this batch is silent: check dset and targets"
    else:
        cause = "the estimate equals the target exactly, which no training reaches: check the loss"
    return f"the loss is 0.0; {cause}"


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
