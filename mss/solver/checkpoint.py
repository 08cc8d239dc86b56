"""Checkpoints: tensors and plain values only, replaced atomically.

They load with ``torch.load(weights_only=True)``, so opening one never runs code from it.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mss.core.errors import DataError
from mss.core.files import atomic_path

logger = logging.getLogger(__name__)

FORMAT = 2
REMEDY = "Remove it to start the run again from the beginning"


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a checkpoint; on any failure the older one stays.

    Raises:
        DataError: it could not be written (a full disk, a read-only folder).
    """
    try:
        save_tensors(path, {"format": FORMAT, **state})
    except OSError as error:
        raise DataError(
            f"{path}: the checkpoint could not be written ({error}); "
            "the one before it is kept. Free space or give another folder, then run again"
        ) from error


def save_tensors(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write tensors and plain values atomically.

    Raises:
        OSError: it could not be written.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch's zip writer tells its own state in place of what the system said
            cause = error.__context__
            raise cause if isinstance(cause, OSError) else OSError(str(error)) from error


def load_checkpoint(
    path: str | os.PathLike[str],
    content: Mapping[str, type | tuple[type, ...]] | None = None,
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: of the checkpoint.
        content: keys that it must hold, and the types of their values.

    Raises:
        DataError: it is damaged, of a newer format, or holds something else.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        LookupError,
        ValueError,
    ) as error:
        raise DataError(f"{path}: this checkpoint can't be read ({error}). {REMEDY}") from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: holds {type(state).__name__}, not a checkpoint. {REMEDY}")
    if state.get("format") != FORMAT:
        raise DataError(
            f"{path}: checkpoint format {state.get('format')!r}, this version reads {FORMAT}"
        )
    wrong = [
        key
        for key, types in (content or {}).items()
        if key not in state or not isinstance(state[key], types)
    ]
    if wrong:
        raise DataError(f"{path}: this checkpoint lacks {', '.join(wrong)}. {REMEDY}")
    return state


def rng_state() -> dict[str, Any]:
    """Return the state of every global generator as tensors and plain values."""
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = numpy_state
    return {
        "python": [version, list(internal), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        # of this process's GPU: the others are other ranks'
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every global generator back to `rng_state`'s result."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if bool(state["cuda"]) != torch.cuda.is_available():
        logger.warning("Going on on another kind of device: dropout draws differently from here on")
    elif state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])


def checkpoint_path(folder: str | os.PathLike[str]) -> Path:
    """Where a run's folder keeps its checkpoint."""
    return Path(folder) / "checkpoint.th"
