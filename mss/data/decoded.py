"""The decoded cache: each song once as an array in a file, read through memory maps.

``decoded/<key>.npy`` in the cache folder holds [K, C, T] (the mixture last, where there is one),
T contiguous, as int16 or float32. The key is made of the content of the song's files, so a copy of
the data at another path uses the same file, and a changed song another one.

Partial reads from it take half the time of those from WAV files, and FLAC or AAC need no decoding.
Samples are equal to direct reads to the last bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError
from mss.core.files import atomic_path
from mss.data.index import in_threads
from mss.data.tracks import MIXTURE, IndexedTrack

logger = logging.getLogger(__name__)

CacheKind = Literal["none", "int16", "float32"]
StoredKind = Literal["int16", "float32"]

# Raise it when the layout of the files changes.
DECODED_VERSION = 1

_INT16_SCALE = 32768.0
_BLOCK = 1 << 20  # samples decoded at a time
# A map holds a file descriptor, of which a process may often have 1024 only.
_MAX_OPEN_MAPS = 128


@dataclass(frozen=True)
class DecodedStems:
    """A decoded song.

    Attributes:
        path: the array [K, C, T].
        names: of its rows.
    """

    path: Path
    names: tuple[str, ...]

    @property
    def length(self) -> int:
        """Samples."""
        return int(_open_map(self.path).shape[-1])

    def read(self, name: str, start: int, frames: int) -> Tensor:
        rows = _open_map(self.path)
        return _to_float32(rows[self.names.index(name), :, start : start + frames])

    def read_stems(self, names: tuple[str, ...], start: int, frames: int) -> Tensor:
        rows = _open_map(self.path)
        if names == self.names[: len(names)]:
            return _to_float32(rows[: len(names), :, start : start + frames])
        return torch.stack([self.read(name, start, frames) for name in names])


@functools.lru_cache(maxsize=_MAX_OPEN_MAPS)
def _open_map(path: Path) -> npt.NDArray[Any]:
    try:
        rows: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: the decoded copy can't be read ({error}); was the cache emptied? Start again,"
            " and it is made anew"
        ) from error
    return rows


def _to_float32(samples: npt.NDArray[Any]) -> Tensor:
    """Copy samples out of a map. 16 bits fit into float32's 24, so nothing is rounded."""
    if samples.dtype == np.int16:
        scaled = np.multiply(samples, np.float32(1 / _INT16_SCALE), dtype=np.float32)
        return torch.from_numpy(scaled)
    return torch.from_numpy(np.array(samples, dtype=np.float32))


def decode_tracks(
    tracks: Sequence[IndexedTrack], kind: StoredKind, key: str = "dset.cache"
) -> tuple[IndexedTrack, ...]:
    """Return the songs, read from the decoded cache, which is filled where needed.

    Args:
        tracks: as the index gives them.
        kind: how samples are stored. "int16" takes half the space and the bandwidth, and needs
            sources of 16 bits.
        key: that gives the kind, for messages.

    Raises:
        ConfigError: "int16" would round a source.
        DataError: a file can't be read, or the disk is too small.
    """
    decoded = [_decoded_stems(track, kind) for track in tracks]
    todo = [
        (track, stems)
        for track, stems in zip(tracks, decoded, strict=True)
        if not is_whole(stems.path, _shape(track), kind)
    ]
    if todo:
        itemsize = np.dtype(kind).itemsize
        check_space(sum(int(np.prod(_shape(track))) * itemsize for track, _ in todo), key)
        in_threads(lambda pair: _decode(pair[0], pair[1], kind, key), todo, "Decoding")
    return tuple(replace(track, reader=stems) for track, stems in zip(tracks, decoded, strict=True))


def decoded_path(*key: Any) -> Path:
    """Return where the array of a key (plain values that name its content) lies."""
    digest = hashlib.sha256(json.dumps([DECODED_VERSION, *key]).encode()).hexdigest()
    return cache_root() / "decoded" / digest[:2] / f"{digest}.npy"


def _decoded_stems(track: IndexedTrack, kind: StoredKind) -> DecodedStems:
    names = (*track.stems, MIXTURE) if track.has_mixture else track.stems
    contents = [[name, track.facts[name].sha256] for name in names]
    return DecodedStems(decoded_path(kind, track.channels, contents), names)


def _shape(track: IndexedTrack) -> tuple[int, int, int]:
    return len(track.stems) + track.has_mixture, track.channels, track.length


def is_whole(path: Path, shape: tuple[int, int, int] | None, kind: StoredKind) -> bool:
    """Whether a decoded file is there, of this type and shape (None: any)."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, EOFError):
        logger.warning("%s: a damaged decoded copy is made again", path)
        return False
    return rows.ndim == 3 and rows.dtype == np.dtype(kind) and shape in (None, rows.shape)


def open_array(path: Path, kind: StoredKind, shape: tuple[int, int, int]) -> np.memmap[Any, Any]:
    """Create an array file to be filled; flush it at the end."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=shape)


def check_space(needed: int, key: str = "dset.cache") -> None:
    """Refuse to fill the disk.

    Args:
        needed: bytes.
        key: that asks for them, for messages.

    Raises:
        DataError: fewer than `needed` bytes are free in the cache folder.
    """
    folder = cache_root()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: the decoded cache needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are"
            f" free. Point $STEMGRID_CACHE to a larger disk, or give {key}=none"
        )


def _decode(track: IndexedTrack, stems: DecodedStems, kind: StoredKind, key: str) -> None:
    with atomic_path(stems.path) as temporary:
        rows = open_array(temporary, kind, _shape(track))
        for row, name in enumerate(stems.names):
            for start in range(0, track.length, _BLOCK):
                block = track.read(name, start, min(_BLOCK, track.length - start)).numpy()
                rows[row, :, start : start + block.shape[1]] = (
                    _as_int16(block, track, name, key) if kind == "int16" else block
                )
        rows.flush()


def _as_int16(
    block: npt.NDArray[np.float32], track: IndexedTrack, name: str, key: str
) -> npt.NDArray[np.int16]:
    """Convert without loss. Exactness is tested on the samples, whatever a header says."""
    scaled = block * np.float32(_INT16_SCALE)
    clipped = np.clip(np.nan_to_num(scaled), -_INT16_SCALE, _INT16_SCALE - 1)
    stored: npt.NDArray[np.int16] = clipped.astype(np.int16)
    if not np.array_equal(stored, scaled):
        raise ConfigError(
            f"{key}: int16 would round {name!r} of track {track.name!r}"
            f" ({track.facts[name].format}); give {key}=float32"
        )
    return stored
