"""Distances of magnitude spectrograms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mss.metrics.base import Measure, SingleMetric
from mss.metrics.per_source import FixedConfig, each_source
from mss.metrics.song_stft import SongStft, power

FLOOR_POWER = 1e-8
"""Powers of an unscaled STFT are not below this in `magnitude` (auraloss's default)."""


def magnitude(spectrum: Tensor) -> Tensor:
    """Return |X| of a complex spectrum, not below 1e-4, so that its logarithm is finite."""
    return power(spectrum).clamp_min(FLOOR_POWER).sqrt()


def stft_distance(
    stft: SongStft, audio: Tensor, other: Tensor, size: Callable[[Tensor], Tensor] = magnitude
) -> Tensor:
    """Return spectral convergence plus the mean difference of logarithms:

        ||A| - |B||_F / |B|_F  +  mean |ln |A| - ln |B||,

    over channels, bins and frames (F: the Frobenius norm); 0 where they are equal.

    Args:
        stft: the resolution.
        audio: A, [C, T].
        other: B, [C, T].
        size: of spectra [C, F, N]; above 0.
    """
    error = norm = logarithms = torch.zeros((), dtype=torch.float64)
    count = 0
    for ours, theirs in stft.pairs(audio, other):
        a, b = size(ours), size(theirs)
        error = error + _sum((a - b).square())
        norm = norm + _sum(b.square())
        logarithms = logarithms + _sum((a.log() - b.log()).abs())
        count += a.numel()
    return (error / norm).sqrt() + logarithms / count


def out_of_hundred(distance: Tensor) -> Tensor:
    """Return 100 / (1 + 10 d), MSST's way of turning a distance into a score."""
    return 100 / (1 + 10 * distance)


class L1Freq(SingleMetric):
    """MSST's l1_freq: 100 / (1 + 10 mean ||E| - |S||), 100 for equal magnitudes.

    Of an unscaled STFT of 2048 samples every 1024 without a window (a rectangular one), over
    channels, bins and frames. It depends on the level: a quieter song scores higher at the same
    SDR, and a silent reference has a score, which says how loud the estimate is.
    """

    Config = FixedConfig

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        self._stft = SongStft(2048, 1024, window="none")

    @property
    def measure(self) -> Measure:
        return Measure(
            name="l1_freq",
            unit="points",
            higher_is_better=True,
            definition=(
                "100 / (1 + 10 mean ||E| - |S||) of unscaled STFTs (2048 samples every 1024, no"
                " window) over channels, bins and frames of the whole song; depends on the level,"
                " defined for an all-zero reference"
            ),
            citation=(
                "Music-Source-Separation-Training, L1Freq_metric; Solovyev, Stempkovskiy and"
                " Habruseva, arXiv 2305.07489"
            ),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        return each_source(reference, estimate, self._score, defined_in_silence=True)

    def _score(self, reference: Tensor, estimate: Tensor) -> Tensor:
        error, count = torch.zeros((), dtype=torch.float64), 0
        for expected, ours in self._stft.pairs(reference, estimate):
            error = error + _sum((power(ours).sqrt() - power(expected).sqrt()).abs())
            count += expected.numel()
        return out_of_hundred(error / count)


class MRSTFT(SingleMetric):
    """Multi-resolution STFT distance: 0 is perfect.

    Spectral convergence (relative to the reference) and the mean absolute difference of natural
    logarithms of magnitudes, with Hann windows of 2048, 1024 and 512 samples every quarter of
    them, averaged. Phases do not count. As auraloss's MultiResolutionSTFTLoss at those windows.

    Magnitudes count as 1e-4 where they are below, so the distance is independent of the level only
    for what is well above that: a stem's pauses depend on what is left in them. A silent reference
    has no score.
    """

    Config = FixedConfig
    n_ffts = (2048, 1024, 512)

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        self._stfts = [SongStft(n_fft, n_fft // 4) for n_fft in self.n_ffts]

    @property
    def measure(self) -> Measure:
        return Measure(
            name="mrstft",
            unit="points",
            higher_is_better=False,
            definition=(
                "||E| - |S||_F / |S|_F + mean |ln |E| - ln |S|| over channels, bins and frames of"
                f" the whole song, mean of Hann windows of {', '.join(map(str, self.n_ffts))}"
                " samples every quarter; unscaled magnitudes, not below 1e-4; undefined for an"
                " all-zero reference"
            ),
            citation=(
                "Yamamoto, Song and Kim, Parallel WaveGAN, ICASSP 2020, arXiv 1910.11480;"
                " spectral convergence: Arik, Jun and Diamos, arXiv 1808.06719"
            ),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        return each_source(reference, estimate, self._score)

    def _score(self, reference: Tensor, estimate: Tensor) -> Tensor:
        distances = [stft_distance(stft, estimate, reference) for stft in self._stfts]
        return torch.stack(distances).mean()


def _sum(values: Tensor) -> Tensor:
    return values.sum(dtype=torch.float64)
