"""The transformer of BS-RoFormer: pre-norm, rotary positions, gated heads; RMS norms with one gain.

Lu, Wang, Kong and Hung, "Music source separation with band-split RoPE transformer", 2023
(arXiv 2309.02612). State-dict names are those of the published checkpoints.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.nn.rotary import rotate, split_pairs


class RMSNorm(nn.Module):
    """x / rms(x) * gamma over the last axis; zeros stay zeros."""

    # of the Euclidean norm; below it a vector counts as silent
    _FLOOR = 1e-12

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(dim))

    def normalise(self, x: Tensor) -> Tensor:
        """Map [..., dim] to vectors of rms 1."""
        accumulate = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=accumulate)
        unit: Tensor = x * (self.scale / norm.clamp_min(self._FLOOR)).to(x.dtype)
        return unit

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., dim] to [..., dim]."""
        return self.normalise(x) * self.gamma


class RotaryAttention(nn.Module):
    """Self-attention with rotary positions; each head's output is scaled by a gate in (0, 1).

    Args:
        dim: features of a token.
        heads, dim_head: heads and features of each; dim_head is even.
        dropout: of attention weights and of the output.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inner = heads * dim_head
        self.norm = RMSNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * self.inner, bias=False)
        self.to_gates = nn.Linear(dim, heads)
        self.to_out = nn.Sequential(nn.Linear(self.inner, dim, bias=False), nn.Dropout(dropout))

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Map [R, L, dim] to [R, L, dim]; `table` is rotary_table(L, dim_head, 2 * heads)."""
        x = self.norm(x)
        weight_qk, weight_v = (
            self.to_qkv.weight[: 2 * self.inner],
            self.to_qkv.weight[2 * self.inner :],
        )
        qk = rotate(F.linear(x, split_pairs(weight_qk)), table, 2 * self.heads)
        query, key = rearrange(qk, "r l (two h) d -> two r h l d", two=2)
        value = rearrange(F.linear(x, weight_v), "r l (h d) -> r h l d", h=self.heads)
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0
        )
        gates = self.to_gates(x).sigmoid()
        out: Tensor = self.to_out(
            (rearrange(mixed, "r h l d -> r l h d") * gates[..., None]).flatten(-2)
        )
        return out


class FeedForward(nn.Module):
    """Norm, expansion by `expansion` with a GELU, and back."""

    def __init__(self, dim: int, dropout: float, expansion: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(
            RMSNorm(dim),
            nn.Linear(dim, expansion * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., dim] to [..., dim]."""
        out: Tensor = self.net(x)
        return out


class RotaryTransformer(nn.Module):
    """`depth` times attention and feed-forward, each added to its input.

    Args:
        dim, heads, dim_head: see RotaryAttention.
        depth: how many pairs of layers.
        attn_dropout, ff_dropout: dropout of either kind of layer.
        norm_output: normalise what comes out.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        dim_head: int,
        attn_dropout: float = 0.0,
        ff_dropout: float = 0.0,
        norm_output: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [RotaryAttention(dim, heads, dim_head, attn_dropout), FeedForward(dim, ff_dropout)]
            )
            for _ in range(depth)
        )
        self.norm: nn.Module = RMSNorm(dim) if norm_output else nn.Identity()

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Map R sequences [R, L, dim], which do not see each other, to [R, L, dim]."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            attention, feed_forward = layer
            x = attention(x, table) + x
            x = feed_forward(x) + x
        out: Tensor = self.norm(x)
        return out
