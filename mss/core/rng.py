"""Randomness keyed by what it is for, not by who draws it.

A generator derived from (seed, epoch, index, ...) gives the same draws in whichever worker process,
on whichever rank and after whichever restart it is made, so none of them changes the data.
"""

import hashlib
import json

import numpy as np
import torch


def derive_seed(*key: int | str) -> int:
    """Return a 63-bit seed that depends on every part of `key` and on their order.

    >>> derive_seed(0, "crop", 1) != derive_seed(0, "crop", 2)
    True
    """
    text = json.dumps(key)  # no two keys share a text: 1 is not "1", ("a", "b") not ("ab",)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(*key: int | str) -> np.random.Generator:
    """Return a NumPy generator for `key` (data workers)."""
    return np.random.default_rng(derive_seed(*key))


def torch_generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for `key`.

    Draw on the CPU and move the (small) result where the same draws are wanted on every device: the
    streams of CPU and CUDA generators differ.
    """
    return torch.Generator(device=device).manual_seed(derive_seed(*key))
