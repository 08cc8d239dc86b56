"""Attention layers over the last axis of [B, C, T]."""

import math

import torch
from einops import einsum, rearrange
from torch import Tensor, nn


class LocalAttention(nn.Module):
    """Self-attention that sees content only, with a learnt penalty on distance; residual.

    The score of key t for query s is q_s . k_t / sqrt(d) - g_s |s - t|. The slope g_s >= 0 is
    computed from the query: sum_i i sigmoid(w_i . x_s) / (2 sqrt(n)) over i = 1..n. A step doesn't
    attend to itself. (Demucs v3, arXiv 2111.03600.)

    Args:
        channels: a multiple of `heads`.
        heads: attention heads.
        decays: n above.
    """

    # The score of a step with itself; a finite one, so that a single step still has a softmax.
    _SELF_SCORE = -100.0

    def __init__(self, channels: int, heads: int = 4, decays: int = 4) -> None:
        super().__init__()
        assert channels % heads == 0
        self.heads = heads
        self.content = nn.Conv1d(channels, channels, 1)
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1)
        self.query_decay = nn.Conv1d(channels, heads * decays, 1)
        self.proj = nn.Conv1d(channels, channels, 1)
        self.decays = decays
        # Slopes start small, so that training starts with a wide view.
        assert self.query_decay.bias is not None
        with torch.no_grad():
            self.query_decay.weight.mul_(0.01)
            self.query_decay.bias.fill_(-2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        query, key, content, decay = (
            rearrange(layer(x), "b (h d) t -> b h d t", h=self.heads)
            for layer in (self.query, self.key, self.content, self.query_decay)
        )
        steps = torch.arange(x.shape[-1], device=x.device)
        distance = (steps[:, None] - steps).abs().to(query.dtype)
        order = torch.arange(1, self.decays + 1, device=x.device, dtype=query.dtype)
        slope = einsum(decay.sigmoid(), order, "b h n s, n -> b h s") / (2 * self.decays**0.5)

        query = query / math.sqrt(query.shape[2])
        scores = einsum(query, key, "b h d s, b h d t -> b h s t")
        scores = torch.addcmul(scores, slope[..., None], distance, value=-1)
        itself = torch.eye(len(steps), dtype=torch.bool, device=x.device)
        weights = scores.masked_fill(itself, self._SELF_SCORE).softmax(dim=-1)
        mixed = einsum(weights.to(content.dtype), content, "b h s t, b h d t -> b h d s")
        y: Tensor = self.proj(rearrange(mixed, "b h d t -> b (h d) t"))
        return x + y
