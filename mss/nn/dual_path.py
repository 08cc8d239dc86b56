"""Dual-path recurrent layers over the two axes of a spectrogram, and SCNet's frame spectra."""

import torch
from einops import rearrange
from torch import Tensor, nn


class DualPathBLSTM(nn.Module):
    """One BLSTM over the bins of each frame, then one over the frames of each bin.

    Each is a residual branch: group norm, BLSTM, linear layer (Luo et al., "Dual-path RNN", arXiv
    1910.06379, here over frequency and time). All frames, or all bins, are one batch.

    Args:
        channels: in and out.
        hidden: units of an LSTM, per direction.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm_layers = nn.ModuleList(
            nn.LSTM(channels, hidden, bidirectional=True) for _ in range(2)
        )
        self.linear_layers = nn.ModuleList(nn.Linear(2 * hidden, channels) for _ in range(2))
        self.norm_layers = nn.ModuleList(nn.GroupNorm(1, channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, F, N] to [B, C, F, N]."""
        items = x.shape[0]
        y = self._branch(0, rearrange(self.norm_layers[0](x), "b c f n -> f (b n) c"))
        x = x + rearrange(y, "f (b n) c -> b c f n", b=items)
        y = self._branch(1, rearrange(self.norm_layers[1](x), "b c f n -> n (b f) c"))
        return x + rearrange(y, "n (b f) c -> b c f n", b=items)

    def _branch(self, path: int, x: Tensor) -> Tensor:
        """Run one BLSTM over the first axis of [steps, B', C]."""
        y: Tensor = self.linear_layers[path](self.lstm_layers[path](x)[0])
        return y


def spectrum_over_frames(x: Tensor) -> Tensor:
    """Transform [B, C, F, N] over its frames: [B, 2C, F, N // 2 + 1], real parts before imaginary.

    Orthonormal, and in float32 at least: half precision has no FFT on most devices.
    """
    with torch.autocast(x.device.type, enabled=False):
        spec = torch.view_as_real(torch.fft.rfft(_at_least_float(x), dim=-1, norm="ortho"))
        return rearrange(spec, "b c f k reim -> b (reim c) f k")


def frames_from_spectrum(x: Tensor, frames: int) -> Tensor:
    """Invert `spectrum_over_frames`: [B, 2C, F, frames // 2 + 1] to [B, C, F, frames]."""
    with torch.autocast(x.device.type, enabled=False):
        spec = torch.complex(*_at_least_float(x).chunk(2, dim=1))
        wave: Tensor = torch.fft.irfft(spec, frames, dim=-1, norm="ortho")
        return wave


def _at_least_float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
