"""Recordings in memory: torch tensors and numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.infer.engine import Engine, Facts
from mss.infer.pipeline import read_ahead

Audio = TypeVar("Audio", Tensor, npt.NDArray[np.floating])

BLOCK = 1 << 16
"""Samples handed over at a time."""

_MOST_CHANNELS = 8  # with more channels than this and than samples, an array is [T, C]
_WANTED = "[channels, samples] of floats, full scale 1.0"


def to_tensor(audio: Tensor | npt.NDArray[np.floating], name: str = "audio") -> Tensor:
    """Return a recording [C, T] as float32.

    Args:
        audio: of any floating-point type and byte order.
        name: of the argument, for messages.

    Raises:
        DataError: no tensor or array, another shape, no floating-point numbers, or not finite.
    """
    if not isinstance(audio, Tensor | np.ndarray):
        raise DataError(
            f"{name}: is a {type(audio).__name__}; give a torch tensor or a numpy array, {_WANTED}"
        )
    floats = audio.is_floating_point() if isinstance(audio, Tensor) else audio.dtype.kind == "f"
    shape = list(audio.shape)
    if len(shape) != 2 or not floats:
        raise DataError(f"{name}: is {shape} of {audio.dtype}; give {_WANTED}")
    channels, samples = shape
    if channels == 0 or channels > max(_MOST_CHANNELS, samples):
        hint = "" if channels == 0 else " (is it transposed?)"
        raise DataError(f"{name}: is {shape}, so of {channels} channels{hint}; give {_WANTED}")
    mix = audio.detach().float() if isinstance(audio, Tensor) else _from_numpy(audio)
    if not bool(mix.isfinite().all()):
        raise DataError(f"{name}: holds a NaN or an infinity. Repair it first.")
    return mix


def _from_numpy(audio: npt.NDArray[np.floating]) -> Tensor:
    """Return an array as float32, which torch knows in the machine's own byte order only."""
    with np.errstate(over="ignore"):  # told as an infinity
        native = np.ascontiguousarray(audio, dtype=np.float32)
    # torch warns of arrays that can't be written, though nothing here writes to them
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def from_tensor(stem: Tensor, like: Audio) -> Audio:
    """Return a stem as what the recording was: kind, dtype, device."""
    if isinstance(like, Tensor):
        return stem.to(like)
    return stem.numpy().astype(like.dtype, copy=False)


def split(mix: Tensor) -> Iterator[Tensor]:
    """Yield a recording [C, T] in blocks [C, n]."""
    yield from torch.split(mix, BLOCK, dim=-1)


def separate_blocks(
    engine: Engine,
    blocks: Callable[[], Iterable[Tensor]],
    samplerate: int,
    channels: int,
    frames: int | None,
    progress: Callable[[float], None] | None,
) -> Tensor:
    """Separate a recording that comes in blocks into memory.

    Args:
        engine: what separates.
        blocks: gives the blocks [C, n] from the beginning each time it is called.
        samplerate: Hz.
        channels: of the recording.
        frames: its length in samples, where it is known.
        progress: told the share that is done.

    Returns:
        [S, C, T].
    """
    first_pass = engine.first_pass(samplerate, channels)
    facts: Facts = ()
    if first_pass is not None:
        with read_ahead(blocks()) as ahead:
            for block in ahead:
                first_pass.feed(block)
        facts = first_pass.finish()
    session = engine.session(samplerate, channels, facts)
    parts: list[Tensor] = []
    done = 0

    def keep(stems: Tensor) -> None:
        nonlocal done
        done += stems.shape[-1]
        parts.append(stems)
        if progress is not None and frames:
            progress(min(1.0, done / frames))

    with read_ahead(blocks()) as ahead:
        for block in ahead:
            keep(session.feed(block))
        keep(session.flush())
    if progress is not None:
        progress(1.0)
    return torch.cat(parts, dim=-1)
