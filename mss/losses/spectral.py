"""Losses on spectrograms, those that a model gives or those of its waves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.stft import Stft
from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss


@dataclass(frozen=True)
class SpectralLossConfig(LossConfig):
    """Keys of the spectral loss.

    Attributes:
        weights: see LossConfig.
        domain: what is compared: "complex" numbers (|f - y|), their "real_imag" parts, each by
            itself (|Re(f - y)| + |Im(f - y)|), or "magnitude"s (||f| - |y||).
        error: "l1", the mean of that, or "mse", the mean of the squares (which are the same for
            "complex" and "real_imag").
        nfft, nhop: STFT of the waves, where the model gives no spectrogram of its own, samples.
    """

    domain: Literal["complex", "real_imag", "magnitude"] = "complex"
    error: Literal["l1", "mse"] = "l1"
    nfft: int = 4096
    nhop: int = 1024


class SpectralLoss(SourceLoss):
    """Mean error over channels, bins and frames of a spectrogram.

    A model's own spectrogram (`Estimate.spec`) is compared with that of the references through the
    same transform: what it puts into bins that no wave has is then seen too. Where there is none,
    as for a whole song in validation, the waves' STFT by `nfft` and `nhop` is taken, unscaled.
    Where the two transforms scale differently, training and validation do so too.

    "magnitude" with "mse" trains Open-Unmix and D3Net, "real_imag" with "l1" the BandSplitRNN
    (arXiv 2209.15174, there beside an L1 of the waves).
    """

    Config = SpectralLossConfig

    def __init__(
        self, config: SpectralLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        self.stft = make_stft(config.nfft, config.nhop, where)
        self.config = config

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        by_source = [
            self._distance(ours, reference).mean(dim=(1, 2, 3))
            for ours, reference in spectrograms(estimate, target, self.stft)
        ]
        return Errors(torch.stack(by_source, dim=1))

    def _distance(self, ours: Tensor, reference: Tensor) -> Tensor:
        """Return the error of each complex number of spectra [B, C, F, N]."""
        if self.config.domain == "magnitude":
            difference = ours.abs() - reference.abs()
            return difference.abs() if self.config.error == "l1" else difference.square()
        difference = ours - reference
        if self.config.error == "mse":
            return power(difference)
        if self.config.domain == "complex":
            return difference.abs()
        return difference.real.abs() + difference.imag.abs()


def spectrograms(estimate: Estimate, target: Target, stft: Stft) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield estimate's and target's spectrograms [B, C, F, N], a source at a time.

    One after the other, so that the validation of a whole song holds those of one source.

    Args:
        estimate: its own spectrograms where it has them.
        target: seen through the transform that made these.
        stft: of both waves where the estimate has none.
    """
    transform: Callable[[Tensor], Tensor] = stft.to(estimate.wave.device)
    if estimate.spec is not None:
        assert estimate.stft is not None
        transform = estimate.stft
    for source in range(estimate.wave.shape[1]):
        reference = transform(target.sources[:, source].float())
        if estimate.spec is not None:
            yield estimate.spec[:, source].to(reference.dtype), reference
        else:
            yield transform(estimate.wave[:, source].float()), reference


def frame_blocks(stft: Stft, length: int, frames: int) -> Iterator[tuple[slice, slice]]:
    """Yield where to cut a wave so that its spectrogram comes `frames` frames at a time.

    For each pair, ``stft(wave[..., samples])[..., kept]`` are the next frames of ``stft(wave)``:
    what is cut out begins with enough frames more to keep the padding of the cut out of them.

    Args:
        stft: a centred one.
        length: of the wave, samples.
        frames: of a block, 2 or more.

    Yields:
        samples, kept.
    """
    total, half = stft.frames(length), stft.n_fft // 2
    margin = half // stft.hop + 1
    for first in range(0, total, frames):
        last = min(first + frames, total)
        start = max(0, first - margin)
        stop = min(length, (last - 1) * stft.hop + half)  # where the last frame ends
        yield slice(start * stft.hop, stop), slice(first - start, last - start)


def power(spectrum: Tensor) -> Tensor:
    """Return |z|^2 of complex numbers, of any shape; its gradient is finite at 0."""
    return spectrum.real.square() + spectrum.imag.square()


def make_stft(nfft: int, nhop: int, where: str, keys: tuple[str, str] = ("nfft", "nhop")) -> Stft:
    """Return a centred STFT with a Hann window.

    Args:
        nfft, nhop: window and hop, samples.
        where: what the keys of both, `keys`, belong to, for messages.

    Raises:
        ConfigError: its frames would not overlap.
    """
    nfft_key, nhop_key = keys
    if nfft < 2 or nfft % 2:
        raise ConfigError(f"{where}.{nfft_key}: {nfft} is not an even number of samples")
    if not 1 <= nhop <= nfft // 2:
        raise ConfigError(
            f"{where}.{nhop_key}: {nhop} samples; give at least 1 and at most half of"
            f" {nfft_key} = {nfft}"
        )
    return Stft(nfft, nhop)
