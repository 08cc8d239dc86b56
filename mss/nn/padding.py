"""Padding that accepts any length."""

import torch.nn.functional as F
from torch import Tensor


def reflect_pad(x: Tensor, left: int, right: int) -> Tensor:
    """Pad the last axis by reflection, also where the signal is too short to be reflected.

    A signal of T samples reflects into at most T - 1. What is missing comes from zeros, appended on
    the right first (they are then reflected too), and the result is always left + T + right long.
    Demucs defines short inputs this way.

    Args:
        x: [..., T], T >= 1, at least two axes.
        left, right: samples to add.
    """
    missing = max(left, right) - x.shape[-1] + 1
    if missing > 0:
        zeros_right = min(right, missing)
        zeros_left = missing - zeros_right
        x = F.pad(x, (zeros_left, zeros_right))
        left, right = left - zeros_left, right - zeros_right
    return F.pad(x, (left, right), mode="reflect")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Append zeros to the last axis until its length is a multiple of `multiple`."""
    missing = -x.shape[-1] % multiple
    # a plain number, so that an exported network holds it as one
    return F.pad(x, (0, int(missing))) if missing else x
