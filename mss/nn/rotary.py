"""Rotary positions: queries and keys turn by an angle that grows with their position.

Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021 (arXiv 2104.09864).
Two neighbouring features 2i, 2i + 1 of a head are the coordinates of a point; at position n it is
turned by n * theta_i, theta_i = base^(-2i / d).
"""

import torch
from einops import rearrange
from torch import Tensor

_BASE = 10000.0


def rotary_frequencies(dim: int, device: torch.device | str | None = None) -> Tensor:
    """Return theta_i, radians per position, [dim / 2], from 1 down to nearly 1 / 10000."""
    pairs = torch.arange(0, dim, 2, dtype=torch.float32, device=device)
    return 1.0 / _BASE ** (pairs / dim)


def rotary_table(
    length: int, dim: int, copies: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of every position's angles, each [length, copies * dim / 2].

    Angles are computed in float32, whatever the model's precision (half has too few digits for
    angles of hundreds of radians), and in this order of operations: float64 would be closer to
    the formula, but further from what the published weights were trained with.

    Args:
        length: positions 0 .. length - 1.
        dim: features of a head; even.
        copies: how often to repeat the table along its last axis (heads, queries and keys), so
            that applying it is a plain product of long rows.
        device: where to.
    """
    with torch.autocast(torch.device(device).type, enabled=False):
        position = torch.arange(length, dtype=torch.float32, device=device)
        angle = position[:, None] * rotary_frequencies(dim, device)
        return angle.cos().repeat(1, copies), angle.sin().repeat(1, copies)


def split_pairs(weight: Tensor) -> Tensor:
    """Reorder a projection's rows [heads * d, in]: even features of all heads, then odd ones.

    Projected with these rows, both coordinates of all pairs are contiguous blocks.
    """
    return rearrange(weight, "(pair two) i -> (two pair) i", two=2)


def rotate(x: Tensor, table: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """Turn queries or keys that were projected by rows from `split_pairs`.

    The features of a head come out in another order (even ones first) than the projection's own;
    scores q . k do not depend on it, as queries and keys share it.

    Args:
        x: [..., L, heads * d], first coordinates, then second ones.
        table: from `rotary_table`, [L, heads * d / 2] each.
        heads: of queries, or of queries and keys together.

    Returns:
        [..., L, heads, d], of x's type.
    """
    cos, sin = table
    first, second = x.chunk(2, dim=-1)
    turned = (
        torch.addcmul(first * cos, second, sin, value=-1),
        torch.addcmul(first * sin, second, cos),
    )
    by_head = [rearrange(half, "... (h p) -> ... h p", h=heads) for half in turned]
    return torch.cat(by_head, dim=-1).to(x.dtype)
