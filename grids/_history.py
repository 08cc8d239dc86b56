"""What a run's history tells, for tables: tolerant of half a run and of older versions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mss.solver.checkpoint import checkpoint_path

HISTORY = "history.json"
MEASURE = "nsdr"  # scored in every validation and test, unless a run says otherwise

History = Sequence[Any]
"""A list of epochs, each {"train": {...}, "valid": {...}, "test": {...}} as far as it went."""


def read_history(folder: Path) -> list[Any]:
    """Return the epochs in `folder`; none where the file is missing, damaged or no list."""
    try:
        history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return history if isinstance(history, list) else []


def section(epoch: Any, stage: str) -> Mapping[str, Any]:
    """Return the metrics of one stage ("train", "valid", "test") of an epoch; empty if none."""
    found = epoch.get(stage) if isinstance(epoch, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def number(value: Any) -> float | None:
    """Return `value` if it is a finite number, else None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def last_section(history: History, stage: str) -> Mapping[str, Any]:
    """Return the newest metrics of a stage."""
    return next((found for epoch in reversed(history) if (found := section(epoch, stage))), {})


def best_epoch(history: History, metric: str = MEASURE) -> int | None:
    """Return the index of the epoch whose model is the best so far.

    Only full validations count: a subset's score is not comparable. A run notes its best value
    itself (``best``), as only it knows whether higher is better; an older history without that
    note is searched for the highest nSDR.
    """
    full = [
        (index, valid)
        for index, epoch in enumerate(history)
        if (valid := section(epoch, "valid")) and valid.get("full", True)
    ]
    if not full:
        return None
    best = number(full[-1][1].get("best"))
    for index, valid in full:
        if best is not None and number(valid.get(metric)) == best:
            return index
    scored = {
        index: value for index, valid in full if (value := number(valid.get(MEASURE))) is not None
    }
    return max(scored, key=lambda index: scored[index]) if scored else None


def scores(metrics: Mapping[str, Any], measure: str = MEASURE) -> dict[str, float | None]:
    """Return the value of each stem of a measure: ``nsdr_drums`` is that of drums."""
    prefix = f"{measure}_"
    return {
        key.removeprefix(prefix): number(value)
        for key, value in metrics.items()
        if key.startswith(prefix)
    }


def measures(metrics: Mapping[str, Any], stems: Iterable[str]) -> list[str]:
    """Return what was measured: keys that have a value of each stem beside them."""
    names = list(stems)
    return [
        key
        for key in metrics
        if key != "loss" and names and all(f"{key}_{stem}" in metrics for stem in names)
    ]


def epoch_seconds(history: History) -> float | None:
    """Return the seconds of the newest epoch, training and validation."""
    for epoch in reversed(history):
        parts = [number(section(epoch, stage).get("seconds")) for stage in ("train", "valid")]
        if any(part is not None for part in parts):
            return sum(part for part in parts if part is not None)
    return None


def is_finished(folder: Path, epochs: int) -> bool:
    """Whether the run in `folder` did all its epochs and tested its best model.

    A run on data without a test split never says that it was tested; starting it again is what
    tells, and costs no training.
    """
    history = read_history(folder)
    return (
        len(history) >= epochs
        and bool(last_section(history, "test"))
        and checkpoint_path(folder).exists()
    )
