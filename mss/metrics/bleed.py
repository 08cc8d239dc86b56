"""Bleedless and fullness: what an estimate has too much, and what it lacks.

The mel spectrograms of reference and estimate are compared in dB. Where the estimate is louder,
something else bleeds into it; where it is quieter, something is missing:

    bleedless = 100 / (1 + mean of the positive differences)
    fullness  = 100 / (1 - mean of the negative differences)

100 is perfect, and so is the mean of no difference at all. Each has to be read beside the other:
silence is bleedless, the mixture is full. Levels are not below 1e-10 (-200 dB), nor more than 80 dB
below the loudest of the same signal (over channels, bands and frames). The level of the recording
does not matter, that of the estimate beside the reference does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mss.metrics.base import Measure, Metric
from mss.metrics.mel_bank import MelBank
from mss.metrics.per_source import FixedConfig, each_source
from mss.metrics.song_stft import SongStft, power

LEAST_MAGNITUDE = 1e-10
RANGE_DB = 80.0
# Frames whose differences are summed at once.
_BLOCK = 4096


class _BleedMetric(Metric):
    """Both measures, averaged over the sizes of the transform."""

    Config = FixedConfig
    name: str
    n_ffts: tuple[int, ...]

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()

    @property
    @abstractmethod
    def measures(self) -> tuple[Measure, ...]:
        """Bleedless and fullness."""

    def score(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Mapping[str, Tensor]:
        """See Metric.score.

        Raises:
            ConfigError: the samplerate is so high that a mel band holds no bin.
        """
        scales = [
            (SongStft(n_fft, n_fft // 4, pad_mode="constant"), self._bank(samplerate, n_fft))
            for n_fft in self.n_ffts
        ]

        def both(expected: Tensor, ours: Tensor) -> Tensor:
            return torch.stack(
                [_bleedless_and_fullness(stft, bank, expected, ours) for stft, bank in scales]
            ).mean(dim=0)

        scores = each_source(reference, estimate, both)
        return dict(zip((m.name for m in self.measures), scores.unbind(dim=1), strict=True))

    def _bank(self, samplerate: int, n_fft: int) -> MelBank:
        return MelBank(samplerate, n_fft, n_fft // 8, f"test.metrics.{self.name}")

    def _measures(self, suffix: str, resolution: str, citation: str) -> tuple[Measure, ...]:
        return tuple(
            Measure(
                name=name + suffix,
                unit="points",
                higher_is_better=True,
                definition=(
                    "100 / (1 + mean |d|) over the bands and frames of the whole song where"
                    f" d {side} 0, d = dB of estimate - dB of reference, {resolution}; dB not more"
                    " than 80 below each signal's highest; undefined for an all-zero reference"
                ),
                citation=citation,
                # the mixture lacks nothing: its fullness is no bar to beat
                has_baseline=name == "bleedless",
            )
            for name, side in (("bleedless", ">"), ("fullness", "<"))
        )


class BleedFull(_BleedMetric):
    """Bleedless and fullness of 512 mel bands, Hann windows of 4096 samples every 1024."""

    name = "bleed_full"
    n_ffts = (4096,)

    @property
    def measures(self) -> tuple[Measure, ...]:
        return self._measures(
            "",
            "512 mel bands, Hann windows of 4096 samples every quarter",
            "jarredou, github.com/csteinmetz1/auraloss/issues/79, 2024, as in"
            " Music-Source-Separation-Training, bleed_full",
        )


class MultiResolutionBleedFull(_BleedMetric):
    """The mean of both over windows of 1024, 2048, 4096 and 8192 samples, an eighth as many bands.

    Another number than BleedFull's, with names of its own.
    """

    name = "bleed_full_mr"
    n_ffts = (1024, 2048, 4096, 8192)

    @property
    def measures(self) -> tuple[Measure, ...]:
        return self._measures(
            "_mr",
            f"mean of Hann windows of {', '.join(map(str, self.n_ffts))} samples every quarter,"
            " each with an eighth as many mel bands",
            "jarredou, github.com/csteinmetz1/auraloss/issues/79, 2024;"
            " Music-Source-Separation-Training, bleed_full_multiresolution (pull request 247)",
        )


def _bleedless_and_fullness(
    stft: SongStft, bank: MelBank, reference: Tensor, estimate: Tensor
) -> Tensor:
    """Return both [2] of a reference and an estimate [C, T]."""
    expected, ours = _mel_db(stft, bank, reference), _mel_db(stft, bank, estimate)
    sums, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    blocks = (torch.split(levels, _BLOCK, dim=-1) for levels in (expected, ours))
    for a, b in zip(*blocks, strict=True):
        difference = b - a
        for side, excess in enumerate((difference.clamp_min(0), (-difference).clamp_min(0))):
            sums[side] += excess.sum(dtype=torch.float64).item()
            counts[side] += excess.count_nonzero().item()
    return 100 / (1 + sums / counts.clamp_min(1))


def _mel_db(stft: SongStft, bank: MelBank, audio: Tensor) -> Tensor:
    """Return the levels [C, M, N] in dB of audio [C, T].

    They are half as many numbers as the audio, so that those of a whole song can be held until
    their maximum is known.
    """
    levels = audio.new_empty(audio.shape[0], bank.count, stft.frames(audio.shape[-1]))
    frame = 0
    for spectrum in stft(audio):
        block = 20 * bank(power(spectrum).sqrt()).clamp_min(LEAST_MAGNITUDE).log10()
        levels[..., frame : frame + block.shape[-1]] = block
        frame += block.shape[-1]
    return levels.clamp_min_(levels.max() - RANGE_DB)
