"""MSST's l1_snr: the multi-domain L1 ratio of the package torch-l1-snr, as a score.

Computed here, and not by the package: it takes the spectra of a whole song at once, and where they
do not fit into the memory it leaves a resolution out of the mean, with a warning alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from mss.metrics.base import Measure, SingleMetric
from mss.metrics.per_source import FixedConfig, each_source
from mss.metrics.song_stft import SongStft

# Added to both means of a ratio.
_EPS = 1e-3
# Added to a mean square before its level is taken (-80 dB).
_LEVEL_EPS = 1e-8
# A reference below this level, dB, counts as silent in the weight of the level's error.
_SILENT_DB = -60.0
# Weight of the level's error: at least, and how much more where the estimate is too quiet.
_LEVEL_WEIGHT, _MISSING_WEIGHT = 0.1, 0.9
# Samples that are compared at once.
_BLOCK = 2**20


class L1SNR(SingleMetric):
    """Ratios in the time domain and in the spectra, half and half, in dB:

        D(E, S) = 10 log10((mean |E - S| + 1e-3) / (mean |S| + 1e-3))
        time    = D(e, s) + w |L(e) - L(s)|,  L(x) = 10 log10(mean x^2 + 1e-8)
        spectra = mean over resolutions of D(Re E, Re S) + D(Im E, Im S)
        score   = -(time + spectra) / 2

    Means are over channels and the whole song. The weight w of the level's error is 0.1; where the
    reference has more than -60 dB and the estimate less than it, 0.9 min(1, |L(e) - L(s)| /
    (L(s) + 60)) more. Resolutions: Hann windows of 512, 1024 and 2048 samples every quarter, STFTs
    over the square root of the window's energy. The level matters, since 1e-3 is -60 dB of full
    scale: the best score is the lower the quieter the song. A silent reference has none.
    """

    Config = FixedConfig
    n_ffts = (512, 1024, 2048)

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        self._stfts = [SongStft(n_fft, n_fft // 4) for n_fft in self.n_ffts]

    @property
    def measure(self) -> Measure:
        return Measure(
            name="l1_snr",
            unit="dB",
            higher_is_better=True,
            definition=(
                "mean of -10 log10((mean |e - s| + 1e-3) / (mean |s| + 1e-3)) less the weighted"
                " error of the level, and of the same ratio of real and imaginary parts, summed,"
                f" of STFTs of {', '.join(map(str, self.n_ffts))} samples every quarter; whole"
                " song; depends on the level; undefined for an all-zero reference"
            ),
            citation=(
                "Watcharasupat and Lerch, arXiv 2501.16171, and Watcharasupat et al., arXiv"
                " 2309.02539; torch-l1-snr 0.2.1, MultiL1SNRDBLoss, negated, as in"
                " Music-Source-Separation-Training, MultiL1SNRDB_metric"
            ),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        return each_source(reference, estimate, self._score)

    def _score(self, reference: Tensor, estimate: Tensor) -> Tensor:
        in_time = _l1_ratio(_sample_blocks(estimate, reference)).squeeze(-1)
        in_time = in_time + _level_error(_level(estimate), _level(reference))
        in_spectra = [
            _l1_ratio(
                _part_blocks(stft, estimate, reference),
                scale=stft.window.square().sum().rsqrt().item(),
            ).sum()
            for stft in self._stfts
        ]
        return -(in_time + torch.stack(in_spectra).mean()) / 2


def _sample_blocks(estimate: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the samples [C, n, 1] of two songs [C, T]."""
    split = (torch.split(audio, _BLOCK, dim=-1) for audio in (estimate, reference))
    for ours, theirs in zip(*split, strict=True):
        yield ours[..., None], theirs[..., None]


def _part_blocks(
    stft: SongStft, estimate: Tensor, reference: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the real and imaginary parts [C, F, n, 2] of two songs' spectra."""
    for ours, theirs in stft.pairs(estimate, reference):
        yield torch.view_as_real(ours), torch.view_as_real(theirs)


def _l1_ratio(blocks: Iterable[tuple[Tensor, Tensor]], scale: float = 1.0) -> Tensor:
    """Return D [K] in dB of what blocks [..., K] of estimate and reference, scaled, add up to."""
    error = signal = torch.zeros((), dtype=torch.float64)
    count = 0
    for ours, theirs in blocks:
        error = error + _sums(ours - theirs)
        signal = signal + _sums(theirs)
        count += ours[..., 0].numel()
    return 10 * torch.log10((scale * error / count + _EPS) / (scale * signal / count + _EPS))


def _sums(values: Tensor) -> Tensor:
    """Return the sums [K] of the magnitudes of values [..., K]."""
    parts = values.abs().unbind(dim=-1)
    return torch.stack([part.sum(dtype=torch.float64) for part in parts])


def _level(audio: Tensor) -> Tensor:
    """Return L in dB of audio [C, T]."""
    energy = torch.zeros((), dtype=torch.float64)
    for block in torch.split(audio, _BLOCK, dim=-1):
        energy = energy + block.square().sum(dtype=torch.float64)
    return 10 * torch.log10(energy / audio.numel() + _LEVEL_EPS)


def _level_error(ours: Tensor, reference: Tensor) -> Tensor:
    """Return w |L(e) - L(s)| in dB for the two levels."""
    error = (ours - reference).abs()
    missing = (reference > _SILENT_DB) & (ours < reference)
    share = (error / (reference - _SILENT_DB).clamp_min(1e-6)).clamp_max(1)
    return (_LEVEL_WEIGHT + torch.where(missing, _MISSING_WEIGHT * share, 0)) * error
