"""Do two stems move together? Correlation of their log-mel envelopes.

What leaks from one stem into another gives both the same envelope. But instruments that play
together do so too, so that this score finds rhythm as well as leakage.
"""

from __future__ import annotations

import torch
from einops import einsum, reduce
from torch import Tensor

from mss.core.mel import mel_filters
from mss.core.stft import Stft
from mss.metrics.song_stft import power

_BANDS = 40
_WINDOW_SECONDS = 0.04
_FLOOR = 1e-6
"""Of the mixture's mean power in a band: what is softer by more than 60 dB has no envelope."""


class LogMel:
    """Log-mel spectra of stems.

    Args:
        samplerate: Hz.
    """

    def __init__(self, samplerate: int) -> None:
        # the power of two next above the window's length: 2048 at 44.1 kHz
        n_fft = 1 << max(4, int(samplerate * _WINDOW_SECONDS)).bit_length()
        self._stft = Stft(n_fft, n_fft // 2, pad_mode="constant")
        filters = mel_filters(samplerate, n_fft, _BANDS)
        # at a low sample rate the lowest bands are narrower than a bin, and hold none
        self._filters = filters[filters.any(dim=1)].double()  # [M, F]

    def __call__(self, stems: Tensor, mix: Tensor) -> Tensor:
        """Return [S, M, N] in dB for stems [S, C, T] of a mixture [C, T], channels averaged."""
        floor = reduce(self._power(mix[None]), "1 m n -> m 1", "mean") * _FLOOR
        tiny = torch.finfo(torch.float64).tiny
        return 10 * torch.log10(torch.maximum(self._power(stems), floor.clamp_min(tiny)))

    def _power(self, stems: Tensor) -> Tensor:
        """Return the power [S, M, N] in each band."""
        spectra = torch.stack(
            [reduce(power(self._stft(stem)), "c f n -> f n", "mean") for stem in stems]
        )
        return einsum(self._filters, spectra.double(), "m f, s f n -> s m n")


class EnvelopeMoments:
    """Sums over frames from which correlations are made; those of segments add up.

    Attributes:
        frames: how many.
        sums: [S, M].
        products: [S, S, M].
    """

    def __init__(self, frames: int, sums: Tensor, products: Tensor) -> None:
        self.frames = frames
        self.sums = sums
        self.products = products

    @classmethod
    def of(cls, envelopes: Tensor) -> EnvelopeMoments:
        """Return the moments of envelopes [S, M, N]."""
        return cls(
            envelopes.shape[-1],
            reduce(envelopes, "s m n -> s m", "sum"),
            einsum(envelopes, envelopes, "i m n, j m n -> i j m"),
        )

    def __add__(self, other: EnvelopeMoments) -> EnvelopeMoments:
        return EnvelopeMoments(
            self.frames + other.frames, self.sums + other.sums, self.products + other.products
        )

    def correlations(self) -> Tensor:
        """Return [S, S], the correlation of every two stems; NaN where one does not move.

        Each band's mean over time is taken out first, so that a spectral tilt that all music shares
        does not count; then all bands count together.
        """
        means = einsum(self.sums, self.sums, "i m, j m -> i j m") / self.frames
        # rounding leaves a little where there is no movement at all
        moved = self.products - means
        moved = torch.where(moved.abs() > 1e-9 * self.products.abs(), moved, 0)
        covariance = reduce(moved, "i j m -> i j", "sum")
        deviation = covariance.diagonal().sqrt()
        return (covariance / torch.outer(deviation, deviation)).clamp(-1, 1)

    def strongest(self) -> Tensor:
        """Return [S], the largest |correlation| of each stem with another; NaN where none is known.

        With one stem there is no other.
        """
        strength = self.correlations().abs().fill_diagonal_(-1)
        strength = torch.where(strength.isnan(), -1, strength)
        largest = strength.amax(dim=1)
        return torch.where(largest >= 0, largest, torch.nan)
