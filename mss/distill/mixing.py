"""The target between a reference and what a teacher gives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mss.core.stft import Stft

Domain = Literal["wave", "magnitude"]


class TargetMixer(nn.Module):
    """(1 - alpha) y + alpha p, of waves or of magnitudes.

    "wave" mixes samples. Mixing complex spectra is the same, since the transform is linear.
    "magnitude" mixes the spectra's magnitudes and takes the reference's phase: another method, in
    which a teacher that is right but late costs nothing.

    Args:
        domain: what is mixed.
        n_fft: samples of a frame, for "magnitude".
        hop: samples from frame to frame, for "magnitude".
    """

    def __init__(self, domain: Domain = "wave", n_fft: int = 4096, hop: int = 1024) -> None:
        super().__init__()
        self.domain = domain
        self.stft = Stft(n_fft, hop)

    def forward(self, reference: Tensor, taught: Tensor, alpha: float | Tensor) -> Tensor:
        """Mix waves [..., T] of one shape; alpha is a number or broadcasts against them."""
        if self.domain == "wave":
            # not lerp: alpha 0 has to give the reference's very bits, whatever the teacher says
            return (1 - alpha) * reference + alpha * taught
        length = reference.shape[-1]
        spectrum = self.stft(reference)  # [..., F, N]
        share = alpha[..., None] if isinstance(alpha, Tensor) else alpha
        magnitude = (1 - share) * spectrum.abs() + share * self.stft(taught).abs()
        # of a bin without a phase, that of 1
        return self.stft.inverse(torch.polar(magnitude, spectrum.angle()), length)


def onto_mix(taught: Tensor, mix: Tensor) -> Tensor:
    """Return p + (x - sum_s p) / S: the nearest waves that add up to the mix.

    Args:
        taught: p, [B, S, C, T].
        mix: x, [B, C, T].
    """
    missing = mix - taught.sum(dim=1)  # [B, C, T]
    return taught + missing[:, None] / taught.shape[1]
