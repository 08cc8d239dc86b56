"""Spectrograms of whole songs, a block of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mss.core.stft import Stft, Window

# Samples of one channel in the transforms of one block, which bounds the memory.
_BLOCK = 2**19


def power(spectrum: Tensor) -> Tensor:
    """Return |X|^2 of a complex spectrum; its root is three times as fast as torch's abs."""
    return spectrum.real.square() + spectrum.imag.square()


class SongStft:
    """The STFT of a song, given in blocks of frames; together they are torch.stft's, centred.

    Args:
        n_fft: window and transform length, samples; even.
        hop: samples between frames.
        window: periodic Hann, or none. Magnitudes are not scaled.
        pad_mode: what stands before and after the song. Songs that are too short to be reflected
            (T <= n_fft / 2) are padded with zeros.
    """

    def __init__(
        self,
        n_fft: int,
        hop: int,
        window: Window = "hann",
        pad_mode: Literal["reflect", "constant"] = "reflect",
    ) -> None:
        self.n_fft = n_fft
        self.hop = hop
        self.pad_mode = pad_mode
        self._stft = Stft(n_fft, hop, center=False, window=window)

    def frames(self, samples: int) -> int:
        """Number of frames of a song of `samples` samples."""
        return samples // self.hop + 1

    @property
    def window(self) -> Tensor:
        """The window [n_fft]."""
        return self._stft.window

    def __call__(self, audio: Tensor) -> Iterator[Tensor]:
        """Yield the spectra [C, F, n] of audio [C, T], complex, in order of time."""
        self._stft.to(audio.device)
        count = self.frames(audio.shape[-1])
        step = max(1, _BLOCK // self.n_fft)
        for first in range(0, count, step):
            last = min(first + step, count) - 1
            start = first * self.hop - self.n_fft // 2
            stop = last * self.hop - self.n_fft // 2 + self.n_fft
            yield self._stft(self._samples(audio, start, stop))

    def pairs(self, first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the blocks of two songs [C, T] of the same length."""
        yield from zip(self(first), self(second), strict=True)

    def _samples(self, audio: Tensor, start: int, stop: int) -> Tensor:
        """Return samples `start` to `stop` of the padded song, counted from the song's first."""
        length = audio.shape[-1]
        if start >= 0 and stop <= length:
            return audio[..., start:stop]
        if self.pad_mode == "reflect" and length > self.n_fft // 2:
            index = torch.arange(start, stop, device=audio.device).abs()
            return audio[..., length - 1 - (length - 1 - index).abs()]
        inside = audio[..., max(start, 0) : min(stop, length)]
        return F.pad(inside, (max(-start, 0), max(stop - length, 0)))
