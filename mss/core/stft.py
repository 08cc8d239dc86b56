"""Short-time Fourier transform, always computed in float32 or better.

Half precision has neither the range nor the digits for spectra, and cuFFT refuses most sizes in it,
so the transform leaves autocast and casts its input up: an fp32 island in a bf16 model.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Window = Literal["hann", "none"]

_NO_WEIGHT = 1e-11
"""torch.istft's own limit for the sum of the squared windows over a sample."""


class Stft(nn.Module):
    """STFT and its inverse over the last axis.

    Args:
        n_fft: window and transform length, samples.
        hop: samples between frames.
        normalized: scale by n_fft^-1/2 both ways (an orthonormal transform of each frame).
        center: pad by n_fft / 2 on both sides, so that frame n is centred on sample n * hop.
        pad_mode: what `center` pads with ("reflect" needs inputs longer than n_fft / 2; shorter
            ones are padded with zeros).
        window: "hann" (periodic), or "none": every sample of a frame counts alike. With either, the
            inverse restores every length where the hop is at most n_fft / 2; beyond that the last
            frame may end before the signal does.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        hop: int,
        normalized: bool = False,
        center: bool = True,
        pad_mode: str = "reflect",
        window: Window = "hann",
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop = hop
        self.normalized = normalized
        self.center = center
        self.pad_mode = pad_mode
        # periodic Hann, as scipy.signal and the field's references use; never part of a checkpoint
        values = torch.hann_window(n_fft) if window == "hann" else torch.ones(n_fft)
        self.register_buffer("window", values, persistent=False)

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames of a signal of `samples` samples."""
        return (samples if self.center else samples - self.n_fft) // self.hop + 1

    def forward(self, wave: Tensor) -> Tensor:
        """Transform [..., T] real to [..., F, N] complex."""
        *lead, length = wave.shape
        with torch.autocast(wave.device.type, enabled=False):
            wave = wave if wave.dtype == torch.float64 else wave.float()
            pad_mode = self.pad_mode
            if self.center and pad_mode == "reflect" and length <= self.n_fft // 2:
                pad_mode = "constant"
            spec = torch.stft(
                wave.reshape(-1, length),
                self.n_fft,
                self.hop,
                window=self.window.to(wave.dtype),
                center=self.center,
                pad_mode=pad_mode,
                normalized=self.normalized,
                return_complex=True,
            )
        return spec.reshape(*lead, *spec.shape[-2:])

    def inverse(self, spec: Tensor, length: int) -> Tensor:
        """Transform [..., F, N] complex back to [..., `length`] real (least squares)."""
        *lead, bins, frames = spec.shape
        with torch.autocast(spec.device.type, enabled=False):
            spec = spec if spec.dtype == torch.complex128 else spec.to(torch.complex64)
            if spec.device.type == "cpu" and not torch.is_grad_enabled() and self._whole_hops:
                rows = [self._invert(one, length) for one in spec.reshape(-1, bins, frames)]
                return torch.stack(rows).reshape(*lead, length)
            wave = torch.istft(
                spec.reshape(-1, bins, frames),
                self.n_fft,
                self.hop,
                window=self.window.to(spec.real.dtype),
                center=self.center,
                normalized=self.normalized,
                length=length,
            )
        return wave.reshape(*lead, length)

    @property
    def _whole_hops(self) -> bool:
        return self.n_fft % self.hop == 0 and self.hop <= self.n_fft // 2

    def _invert(self, spec: Tensor, length: int) -> Tensor:
        """Invert one spectrogram [F, N] into [length].

        What torch.istft computes, in a third of its time on a CPU and without frames of all
        signals in memory at once: as the window is a whole number of hops, frames are added as
        rows of hops.
        """
        window = self.window.to(spec.real.dtype)
        norm = "ortho" if self.normalized else "backward"
        frames = torch.fft.irfft(spec.t(), self.n_fft, norm=norm).mul_(window)  # [N, n_fft]
        start = self.n_fft // 2 if self.center else 0
        wave = _add_hops(frames, self.hop)[start : start + length]
        weight = window.square().expand(len(frames), -1)
        total = _add_hops(weight, self.hop)[start : start + length]
        assert total.abs().min() > _NO_WEIGHT, "a sample that no window covers has no inverse"
        missing = length - len(wave)
        # beyond the last frame there is nothing to invert
        return F.pad(wave.div_(total), (0, missing)) if missing else wave.div_(total)


def _add_hops(frames: Tensor, hop: int) -> Tensor:
    """Add frames [N, n_fft], each `hop` samples after the one before, to [(N - 1) hop + n_fft]."""
    count, size = frames.shape
    rows = frames.new_zeros(count + size // hop - 1, hop)
    for index, part in enumerate(rearrange(frames, "n (k h) -> k n h", h=hop)):  # [N, hop]
        rows[index : index + count] += part
    return rows.flatten()
