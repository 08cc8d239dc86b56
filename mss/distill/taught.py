"""A teacher's estimates, kept by the content of the mix that they are of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mss.core.cache import cache_root
from mss.core.files import atomic_path

FORM = 2
"""Of the files; raise it when what they hold changes."""


class TaughtStore:
    """Estimates [S, C, T] in the cache folder, one file a mix, under the teacher's digest.

    The name of a file is a hash of the mix's samples, so an estimate is only ever found for the
    very mix that it was made of, whichever run or rank made it.

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
        """
        paths = []
        for item in mix.detach().cpu().contiguous():
            name = hashlib.sha256(memoryview(item.numpy()).cast("B")).hexdigest()
            paths.append(self.folder / name[:2] / f"{name[2:]}.npy")
        missing = [index for index, path in enumerate(paths) if not path.exists()]
        if missing:
            for index, estimate in zip(missing, separate(mix[missing]), strict=True):
                with atomic_path(paths[index]) as temporary, temporary.open("wb") as handle:
                    np.save(handle, estimate.float().cpu().numpy())
        found = torch.stack([torch.from_numpy(np.load(path)) for path in paths])
        assert found.shape[1:] == self.shape, "another shape under the same content"
        return found.to(mix.device)
