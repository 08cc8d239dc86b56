"""A transformer of two branches that attend to themselves and to each other in turn.

Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023 (arXiv
2211.08553). Tokens are [B, L, D]. State-dict names follow the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.nn.dconv import LayerScale
from mss.nn.embedding import sinusoidal_grid, sinusoidal_positions


@dataclass(frozen=True)
class CrossTransformerOptions:
    """Shape of a CrossTransformer.

    Attributes:
        dim: D, a multiple of `heads` and of 4.
        layers: of each branch.
        heads: of every attention.
        hidden_scale: the feed-forward layers are that many times wider than `dim`.
        dropout: after every attention and in every feed-forward layer.
        norm_in: layer norm of what comes in, before positions are added.
        norm_out: end every layer with a norm over all tokens.
        layer_scale: a learnt factor for each channel of every residual branch.
        cross_first: begin with cross-attention instead of self-attention.
        max_period: of the sinusoids that tell positions, steps.
        position_weight: factor on them.
        random_shift: in training, the wave's positions start anywhere from 0 up to this step.
    """

    dim: int
    layers: int = 5
    heads: int = 8
    hidden_scale: float = 4.0
    dropout: float = 0.0
    norm_in: bool = True
    norm_out: bool = True
    layer_scale: bool = True
    cross_first: bool = False
    max_period: float = 10000.0
    position_weight: float = 1.0
    random_shift: int = 0


class MultiheadAttention(nn.Module):
    """Attention of tokens to themselves or to others, through the fused kernel in every mode.

    Parameters are those of nn.MultiheadAttention, whose own path for evaluation is unfused.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        assert dim % heads == 0
        self.heads = heads
        self.dropout = dropout
        # query, key and value projections, in this order
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        """Map [B, L, D] to [B, L, D], looking at `others` [B, M, D] or else at x itself."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if others is None:
            packed = F.linear(x, weight, bias)
            query, key, value = rearrange(packed, "b l (n h d) -> n b h l d", n=3, h=self.heads)
        else:
            dim = x.shape[-1]
            query = F.linear(x, weight[:dim], bias[:dim])
            query = rearrange(query, "b l (h d) -> b h l d", h=self.heads)
            packed = F.linear(others, weight[dim:], bias[dim:])
            key, value = rearrange(packed, "b m (n h d) -> n b h m d", n=2, h=self.heads)
        y = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out_proj(rearrange(y, "b h l d -> b l (h d)"))
        return out


class TokenNorm(nn.Module):
    """Group norm of one group: over all tokens and channels of an item, then affine by channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[1:]), self.weight)


class _Layer(nn.Module):
    """What both kinds of layers have: a feed-forward branch and the ends of residual branches."""

    def __init__(self, options: CrossTransformerOptions) -> None:
        super().__init__()
        dim, hidden = options.dim, int(options.dim * options.hidden_scale)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(options.dropout)
        self.norm_out = TokenNorm(dim) if options.norm_out else None
        self.gamma_1 = self.gamma_2 = None
        if options.layer_scale:
            self.gamma_1 = LayerScale(dim, 1e-4, channels_last=True)
            self.gamma_2 = LayerScale(dim, 1e-4, channels_last=True)

    def _add(self, x: Tensor, branch: Tensor, gamma: LayerScale | None) -> Tensor:
        branch = self.dropout(branch)
        return x + branch if gamma is None else gamma(branch, x)

    def _end(self, x: Tensor, normed: Tensor) -> Tensor:
        """Add the feed-forward branch to x and normalise the sum, where that is an option."""
        hidden = self.dropout(F.gelu(self.linear1(normed)))
        x = self._add(x, self.linear2(hidden), self.gamma_2)
        return x if self.norm_out is None else self.norm_out(x)


class SelfAttentionLayer(_Layer):
    """Pre-norm transformer layer whose tokens attend to each other."""

    def __init__(self, options: CrossTransformerOptions) -> None:
        super().__init__(options)
        self.self_attn = MultiheadAttention(options.dim, options.heads, options.dropout)
        self.norm1 = nn.LayerNorm(options.dim)
        self.norm2 = nn.LayerNorm(options.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        x = self._add(x, self.self_attn(self.norm1(x)), self.gamma_1)
        return self._end(x, self.norm2(x))


class CrossAttentionLayer(_Layer):
    """Pre-norm transformer layer whose tokens attend to those of the other branch."""

    def __init__(self, options: CrossTransformerOptions) -> None:
        super().__init__(options)
        self.cross_attn = MultiheadAttention(options.dim, options.heads, options.dropout)
        self.norm1 = nn.LayerNorm(options.dim)
        self.norm2 = nn.LayerNorm(options.dim)  # of the other branch's tokens
        self.norm3 = nn.LayerNorm(options.dim)

    def forward(self, x: Tensor, others: Tensor) -> Tensor:
        """Map [B, L, D] and the other branch's [B, M, D] to [B, L, D]."""
        attended = self.cross_attn(self.norm1(x), self.norm2(others))
        x = self._add(x, attended, self.gamma_1)
        return self._end(x, self.norm3(x))


class CrossTransformer(nn.Module):
    """Layers of self-attention and, every second one, of attention to the other branch.

    Within a layer both branches look at what the other one was before it.
    """

    def __init__(self, options: CrossTransformerOptions) -> None:
        super().__init__()
        assert options.dim % 4 == 0
        self.options = options
        self.norm_in: nn.Module = nn.Identity()
        self.norm_in_t: nn.Module = nn.Identity()
        if options.norm_in:
            self.norm_in, self.norm_in_t = nn.LayerNorm(options.dim), nn.LayerNorm(options.dim)
        self.layers, self.layers_t = nn.ModuleList(), nn.ModuleList()
        for index in range(options.layers):
            cross = (index % 2 == 1) != options.cross_first
            kind = CrossAttentionLayer if cross else SelfAttentionLayer
            self.layers.append(kind(options))
            self.layers_t.append(kind(options))

    def forward(self, grid: Tensor, wave: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Run both branches.

        Args:
            grid: [B, N * F, D], the spectrogram's tokens, frame by frame.
            wave: [B, T, D], the waveform's.
            frames: N.

        Returns:
            Both, of the same shapes.
        """
        options = self.options
        bins = grid.shape[1] // frames
        places = sinusoidal_grid(frames, bins, options.dim, options.max_period, grid.device)
        grid = self.norm_in(grid) + options.position_weight * places
        steps = sinusoidal_positions(
            wave.shape[1], options.dim, options.max_period, wave.device, self._shift()
        )
        wave = self.norm_in_t(wave) + options.position_weight * steps
        for layer, layer_t in zip(self.layers, self.layers_t, strict=True):
            if isinstance(layer, CrossAttentionLayer):
                grid, wave = layer(grid, wave), layer_t(wave, grid)
            else:
                grid, wave = layer(grid), layer_t(wave)
        return grid, wave

    def _shift(self) -> Tensor | None:
        """Draw where the wave's positions start, from torch's generator on the CPU; none in eval.

        (The reference draws from Python's generator, and in evaluation too.)
        """
        if not self.training or not self.options.random_shift:
            return None
        return torch.randint(self.options.random_shift + 1, ())
