"""Several estimates of the same stems as one: mean, median, smallest or largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from mss.core.stft import Stft

Rule = Literal["mean", "median", "min", "max"]
"""Of M estimates of a sample or of a bin. "min" and "max" take the one of smallest or largest
magnitude as it is, with its sign or phase. "median" takes the one of middle magnitude of spectra
(the mean of the middle two where M is even), and of waves the median of the samples' values."""

Domain = Literal["wave", "spectrum"]


def weighted_mean(estimates: Tensor, weights: Sequence[Sequence[float]]) -> Tensor:
    """Return sum_m w[m][s] estimates[m, s] of [M, S, C, T]; the weights of a source add up to 1."""
    table = estimates.new_tensor([list(row) for row in weights])  # [M, S]
    return torch.einsum("msct,ms->sct", estimates, table)


def combine(estimates: Tensor, rule: Rule) -> Tensor:
    """Combine estimates [M, ...], samples or complex bins, over M."""
    if rule == "mean":
        return estimates.mean(dim=0)
    if rule == "median":
        return _median(estimates)
    size = estimates.abs()
    # of equal ones the first member's, as argmin and argmax promise
    index = size.argmin(dim=0) if rule == "min" else size.argmax(dim=0)
    return estimates.gather(0, index[None])[0]


def _median(estimates: Tensor) -> Tensor:
    members = len(estimates)
    key = estimates.abs() if estimates.is_complex() else estimates
    order = key.argsort(dim=0, stable=True)
    middle = order[(members - 1) // 2 : members // 2 + 1]  # one, or two where M is even
    return estimates.gather(0, middle).mean(dim=0)


class SpectralCombine:
    """Combines whole waves bin by bin; a chunk function [1, M * S * C, T] -> [1, S, C, T].

    Args:
        members: M.
        sources: S.
        rule: as above.
        n_fft: samples of the Hann window.
        hop: samples between frames.
    """

    def __init__(self, members: int, sources: int, rule: Rule, n_fft: int, hop: int) -> None:
        self._members, self._sources, self._rule = members, sources, rule
        self._stft = Stft(n_fft, hop)

    def __call__(self, chunks: Tensor) -> Tensor:
        self._stft.to(chunks.device)
        waves = rearrange(chunks, "b (m s c) t -> m b s c t", m=self._members, s=self._sources)
        return self._stft.inverse(combine(self._stft(waves), self._rule), chunks.shape[-1])
