"""Spectrograms whose axes suit strided convolutions: n_fft / 2 bins, no Nyquist bin.

Both transforms are orthonormal per frame (scaled by n_fft^-1/2), with a hop of n_fft / 4 and a
periodic Hann window, as in Hybrid Demucs (Défossez 2021, arXiv 2111.03600).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mss.core.stft import Stft
from mss.nn.padding import reflect_pad


class CentredStft(nn.Module):
    """The usual centred STFT, without its Nyquist bin: T // hop + 1 frames."""

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        self.hop = n_fft // 4
        self.stft = Stft(n_fft, self.hop, normalized=True)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform [..., T] real to [..., n_fft / 2, N] complex."""
        spec: Tensor = self.stft(wave)
        return spec[..., :-1, :]

    def inverse(self, spec: Tensor, length: int) -> Tensor:
        """Transform [..., n_fft / 2, N] back to [..., `length`], with silence at Nyquist."""
        return self.stft.inverse(F.pad(spec, (0, 0, 0, 1)), length)


class AlignedStft(nn.Module):
    """An STFT of exactly ceil(T / hop) frames, frame n standing for samples [n, n + 1) * hop.

    This is how a convolution of kernel n_fft and stride hop with padding 3/8 n_fft counts, so that
    a frame lies over the same samples as one step of a waveform encoder of total stride hop.

    Args:
        n_fft: samples, a multiple of 8.
        legacy_offset: pad with zeros instead of by reflection and let the inverse start 3/8 n_fft
            samples early: a fault that some models were trained with (`hybrid_old`).
    """

    # frames that a centred STFT has beyond each end
    _MARGIN = 2

    def __init__(self, n_fft: int, legacy_offset: bool = False) -> None:
        super().__init__()
        self.hop = n_fft // 4
        self.padding = self.hop // 2 * 3
        self.legacy_offset = legacy_offset
        self.stft = Stft(n_fft, self.hop, normalized=True)

    def frames(self, samples: int) -> int:
        """Number of frames of `samples` samples."""
        return -(-samples // self.hop)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform [..., T] real to [..., n_fft / 2, ceil(T / hop)] complex, T >= 1."""
        samples = wave.shape[-1]
        frames = self.frames(samples)
        left, right = self.padding, self.padding + frames * self.hop - samples
        pad = _zero_pad if self.legacy_offset else reflect_pad
        spec: Tensor = self.stft(pad(wave, left, right))
        return spec[..., :-1, self._MARGIN : self._MARGIN + frames]

    def inverse(self, spec: Tensor, length: int) -> Tensor:
        """Transform [..., n_fft / 2, N] complex back to [..., `length`], length <= N * hop."""
        # silent frames beyond both ends give every sample its full window envelope
        spec = F.pad(spec, (self._MARGIN, self._MARGIN, 0, 1))
        whole = self.frames(length) * self.hop
        if self.legacy_offset:
            return self.stft.inverse(spec, whole)[..., :length]
        wave = self.stft.inverse(spec, whole + 2 * self.padding)
        return wave[..., self.padding : self.padding + length]


def _zero_pad(wave: Tensor, left: int, right: int) -> Tensor:
    return F.pad(wave, (left, right))
