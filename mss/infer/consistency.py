"""Estimates whose sum is the mixture, chunk by chunk."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import ChunkFn

Share = Literal["equal", "power"]


class Consistent:
    """Gives each source its share of what all of them leave of the mixture.

    y_s + w_s (x - sum_k y_k), with w_s = 1 / S ("equal") or the source's part of the power of all
    sources in the chunk ("power"), so that a silent one stays silent. Wisdom et al.,
    "Differentiable consistency constraints for improved deep speech enhancement", ICASSP 2019.

    The sum over overlapping chunks is consistent too, since overlap-add takes a mean. (Equal shares
    of whole recordings, of ensembles too: mss.infer.output_map.consistent.)

    Args:
        chunk_fn: [B, C, T] -> [B, S, C, T].
        share: "equal" or "power".

    Raises:
        ConfigError: another share.
    """

    def __init__(self, chunk_fn: ChunkFn, share: Share = "equal") -> None:
        if share not in get_args(Share):
            known = ", ".join(get_args(Share))
            raise ConfigError(f"consistent.share: there is no {share!r}. Known: {known}")
        self._chunk_fn = chunk_fn
        self._share = share

    def __call__(self, chunks: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T]."""
        stems = self._chunk_fn(chunks.clone())
        missing = chunks[:, None] - stems.sum(dim=1, keepdim=True)  # [B, 1, C, T]
        return stems + self._weights(stems) * missing

    def _weights(self, stems: Tensor) -> Tensor:
        """Return what each source gets, [B, S, 1, 1]; the sum over S is 1."""
        equal = torch.full_like(stems[..., :1, :1], 1 / stems.shape[1])
        if self._share == "equal":
            return equal
        power = stems.square().mean(dim=(-2, -1), keepdim=True)
        total = power.sum(dim=1, keepdim=True)
        return torch.where(total > 0, power / total.clamp_min(1e-30), equal)
