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
from mss.solver.errors import TrainingError

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
    position = f"epoch {progress.epoch + 1}, update {progress.step + 1}"
    if value == 0.0:
        cause = _zero_cause(target)
    elif not torch.isfinite(batch.mix).all():
        cause = "the batch itself holds NaN or infinities: run python -m tools.check_data"
    else:
        cause = (
            "the data is finite, so the weights diverged: try a lower optim.lr or optim.clip_norm"
        )
    saved = folder / "failed_batch.th"
    with atomic_path(saved) as temporary:
        content = {
            "mix": batch.mix.cpu(),
            "stems": batch.stems.cpu(),
            "names": list(batch.names),
            "epoch": progress.epoch,
            "step": progress.step,
        }
        torch.save(content, temporary)
    raise TrainingError(f"{position}: the loss is {value}; {cause}. The batch lies in {saved}")


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
