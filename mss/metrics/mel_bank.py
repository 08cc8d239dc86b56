"""A mel filter bank for many frames."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.mel import mel_filters

# Filters that are applied together, to the bins of all of them.
_GROUP = 32


class MelBank:
    """Mel spectra of magnitude spectra.

    A filter sees few of the bins, so that a product with the whole bank would mostly add zeros: it
    is applied a group of neighbours at a time.

    Args:
        samplerate: Hz; the filters go from 0 to half of it.
        n_fft: length of the transform, samples.
        count: filters.
        where: the key that asks for it, for messages.

    Raises:
        ConfigError: a filter holds no bin, as happens at a high samplerate.
    """

    def __init__(self, samplerate: int, n_fft: int, count: int, where: str) -> None:
        empty, self._groups = _groups(samplerate, n_fft, count)
        if empty:
            raise ConfigError(
                f"{where}: at {samplerate} Hz, {empty} of its {count} mel bands hold no bin of a"
                f" {n_fft}-point transform; it is made for 44100 Hz: leave it out, or resample"
                " references and estimates"
            )
        self.count = count

    def __call__(self, magnitudes: Tensor) -> Tensor:
        """Return [C, M, N] for magnitudes [C, F, N]."""
        return torch.cat(
            [filters.to(magnitudes) @ magnitudes[:, bins] for filters, bins in self._groups], dim=1
        )


@cache
def _groups(samplerate: int, n_fft: int, count: int) -> tuple[int, list[tuple[Tensor, slice]]]:
    """Return how many filters hold no bin and, where none does, each group and the bins it sees."""
    filters = mel_filters(samplerate, n_fft, count)
    empty = int((~filters.any(dim=1)).sum())
    return empty, [] if empty else [_used_bins(group) for group in torch.split(filters, _GROUP)]


def _used_bins(filters: Tensor) -> tuple[Tensor, slice]:
    """Return the part [M, f] of filters [M, F] that is not zero, and the f bins it sees."""
    bins = filters.any(dim=0).nonzero()
    used = slice(int(bins[0]), int(bins[-1]) + 1)
    return filters[:, used].clone(), used
