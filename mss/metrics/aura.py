"""auraloss's STFT distances with the settings of Music-Source-Separation-Training (MSST).

MSST gives them the reference as the estimate and the estimate as the reference, so that the
spectral convergence is relative to the *estimate*:

    d = ||S| - |E||_F / |E|_F + mean |ln |S| - ln |E||,    score 100 / (1 + 10 d),

and that is what its tables hold. Computed here, and not by auraloss, which takes the STFTs and the
phases of a whole song at once (gigabytes) and its mel filters from librosa. The A-weighting filter
is auraloss's own.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from mss.core.errors import ConfigError
from mss.metrics.base import Measure, SingleMetric
from mss.metrics.mel_bank import MelBank
from mss.metrics.per_source import FixedConfig, each_source
from mss.metrics.song_stft import SongStft
from mss.metrics.spectral import magnitude, out_of_hundred, stft_distance

_CITATION = (
    "Steinmetz and Reiss, auraloss, DMRN+15, 2020 (0.4.0), as in Music-Source-Separation-Training,"
    " {function}"
)
# Samples that are filtered at once.
_BLOCK = 2**16


class AuraSTFT(SingleMetric):
    """MSST's aura_stft: d of a Hann window of 1024 samples every 256.

    100 is perfect. The level matters, since magnitudes count as 1e-4 where they are below.
    """

    Config = FixedConfig

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        self._stft = SongStft(1024, 256)

    @property
    def measure(self) -> Measure:
        return Measure(
            name="aura_stft",
            unit="points",
            higher_is_better=True,
            definition=(
                "100 / (1 + 10 d), d = ||S| - |E||_F / |E|_F + mean |ln |S| - ln |E|| of an"
                " unscaled STFT (Hann, 1024 samples every 256) of the whole song, magnitudes not"
                " below 1e-4; undefined for an all-zero reference"
            ),
            citation=_CITATION.format(function="AuraSTFT_metric"),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        return each_source(reference, estimate, self._score)

    def _score(self, reference: Tensor, estimate: Tensor) -> Tensor:
        return out_of_hundred(stft_distance(self._stft, reference, estimate))


class AuraMRSTFT(SingleMetric):
    """MSST's aura_mrstft: d of mel spectra at three resolutions, after A-weighting.

    128 mel bands from 0 Hz to half the samplerate; Hann windows of 1024, 2048 and 4096 samples
    every quarter of them. MSST takes every song for one of 44.1 kHz; here filter and bands are
    those of the song's own samplerate.

    Raises:
        ConfigError: auraloss or SciPy is not installed, or the samplerate is so high that a band
            holds no bin.
    """

    Config = FixedConfig
    n_ffts = (1024, 2048, 4096)
    bands = 128

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        self._stfts = [SongStft(n_fft, n_fft // 4) for n_fft in self.n_ffts]
        _a_weighting(44100)  # fails before anything is separated

    @property
    def measure(self) -> Measure:
        return Measure(
            name="aura_mrstft",
            unit="points",
            higher_is_better=True,
            definition=(
                "100 / (1 + 10 d), d = ||S| - |E||_F / |E|_F + mean |ln |S| - ln |E|| of"
                f" {self.bands} mel bands after A-weighting, mean of Hann windows of"
                f" {', '.join(map(str, self.n_ffts))} samples every quarter, of the whole song,"
                " STFT magnitudes not below 1e-4; undefined for an all-zero reference"
            ),
            citation=_CITATION.format(function="AuraMRSTFT_metric"),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        taps = _a_weighting(samplerate)
        banks = [
            MelBank(samplerate, n_fft, self.bands, "test.metrics.aura_mrstft")
            for n_fft in self.n_ffts
        ]

        def score(expected: Tensor, ours: Tensor) -> Tensor:
            expected, ours = _filter(expected, taps), _filter(ours, taps)
            distances = [
                stft_distance(stft, expected, ours, partial(_mel_magnitude, bank))
                for stft, bank in zip(self._stfts, banks, strict=True)
            ]
            return out_of_hundred(torch.stack(distances).mean())

        return each_source(reference, estimate, score)


def _mel_magnitude(bank: MelBank, spectrum: Tensor) -> Tensor:
    return bank(magnitude(spectrum))


@cache
def _a_weighting(samplerate: int) -> Tensor:
    """Return auraloss's symmetric A-weighting filter of 101 taps.

    Raises:
        ConfigError: auraloss or SciPy, with which it designs the filter, is not installed.
    """
    try:
        from auraloss.perceptual import FIRFilter

        fir = FIRFilter(filter_type="aw", fs=samplerate).fir
    except ImportError as error:
        raise ConfigError(
            f"test.metrics.aura_mrstft: needs auraloss and SciPy ({error});"
            " pip install 'stemgrid[train]'"
        ) from error
    taps: Tensor = fir.weight.detach().flatten()
    return taps


def _filter(audio: Tensor, taps: Tensor) -> Tensor:
    """Filter audio [C, T] by a symmetric filter of odd length, centred: [C, T]."""
    margin, length = len(taps) // 2, audio.shape[-1]
    kernel = rearrange(taps.to(audio), "k -> 1 1 k")
    filtered = torch.empty_like(audio)
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        before, after = start - margin, stop + margin
        inside = audio[:, max(before, 0) : min(after, length)]
        padded = F.pad(inside, (max(-before, 0), max(after - length, 0)))
        filtered[:, start:stop] = F.conv1d(padded[:, None], kernel)[:, 0]
    return filtered
