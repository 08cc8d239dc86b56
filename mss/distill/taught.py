"""A teacher's estimates, kept by the content of the mix that they are of."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mss.core.cache import cache_root
from mss.core.errors import DataError
from mss.core.files import atomic_path

logger = logging.getLogger(__name__)

FORM = 3
"""Of the files; raise it when what they hold changes."""


class TaughtStore:
    """Estimates [S, C, T] in the cache folder, one file a mix, under the teacher's digest.

    The name of a file is a hash of the mix's samples, so an estimate is only ever found for the
    very mix that it was made of, whichever run or rank made it. A damaged file is made again: each
    is written as a whole, so a rank that reads it meanwhile finds the old one or the new.

    Args:
        digest: of the teacher.
        shape: of an estimate.
    """

    def __init__(self, digest: str, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.folder = cache_root() / "taught" / f"{FORM}-{digest[:32]}"

    @property
    def gib(self) -> float:
        """Size of one estimate."""
        return 4 * float(np.prod(self.shape)) / 2**30

    def get(self, mix: Tensor, separate: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the estimates [B, S, C, T] of mixes [B, C, T]; what is missing is made and kept.

        Args:
            mix: the mixes.
            separate: [B', C, T] -> [B', S, C, T], for those that are missing.

        Raises:
            DataError: an estimate can't be kept.
        """
        paths = []
        for item in mix.detach().cpu().contiguous():
            name = hashlib.sha256(memoryview(item.numpy()).cast("B")).hexdigest()
            paths.append(self.folder / name[:2] / f"{name[2:]}.npy")
        found = [self._read(path) for path in paths]
        missing = [index for index, estimate in enumerate(found) if estimate is None]
        if missing:
            for index, made in zip(missing, separate(mix[missing]).float().cpu(), strict=True):
                assert made.shape == self.shape, tuple(made.shape)
                self._write(paths[index], made)
                found[index] = made
        return torch.stack([estimate for estimate in found if estimate is not None]).to(mix.device)

    def _read(self, path: Path) -> Tensor | None:
        """Return a file's estimate; None: it is not there, or is no such."""
        try:
            found = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s: a damaged estimate is made again (%s)", path, error)
            return None
        if found.shape != self.shape or found.dtype != np.float32:
            logger.warning(
                "%s: is %s of shape %s, not float32 of %s; it is made again",
                path,
                found.dtype,
                found.shape,
                self.shape,
            )
            return None
        return torch.from_numpy(found)

    def _write(self, path: Path, estimate: Tensor) -> None:
        try:
            with atomic_path(path) as temporary, temporary.open("wb") as handle:
                np.save(handle, estimate.numpy())
        except OSError as error:
            raise DataError(
                f"{path}: the teacher's estimate can't be kept ({error}); free space, point "
                "$STEMGRID_CACHE to a larger disk, or give distill.cache=false"
            ) from error
