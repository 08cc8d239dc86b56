"""Oracles: what a class of methods could reach if it knew the true sources.

A mask is computed from the sources themselves and applied to the mixture's short-time Fourier
transform, so its score bounds every method that estimates such a mask, at this window. It bounds no
other one: today's models, which write waveforms or complex spectra, beat the magnitude masks.

The masks are those of SiSEC 2018 (Stoter, Liutkus and Ito, arXiv 1804.06267; sigsep-mus-oracle): at
bin f and frame n of each channel, with the sources' spectra s_j and the mixture's x,

    ibm1, ibm2      1 where |s_j|^a >= |x|^a / 2, else 0                 a = 1, 2
    irm1, irm2      |s_j|^a / sum_k |s_k|^a                              a = 1, 2
    cirm            s_j / x: nearly perfect, it says that such a mask is no limit
    cirm-bounded    s_j / x, its magnitude at most 1
    mwf             v_j R_j (sum_k v_k R_k)^-1, which mixes the channels

after Williamson, Wang and Wang, IEEE/ACM TASLP 24(3), 2016 (cirm). The bound of 1 is that of
DCUNet (Choi et al., ICLR 2019) and of every model whose mask ends in a tanh; Kong et al., ISMIR
2021, count how much of MUSDB18 lies beyond it. Williamson's own compressed form is a range for
a network's output, undone before the mask is applied: it bounds nothing. `mixture`, which is no
mask, is the mixture divided by the number of sources, as SiSEC's "MIX".

Where this leaves sigsep-mus-oracle: MWF's spatial covariances are weighted by power, as in
mss.core.wiener (Nugraha et al., IEEE TASLP 24(9), 2016). There they are means of covariances that
were divided by the power, of which a silent source has none, then scaled by a trace over
frequencies instead of channels. The published 7.88 dB is therefore no figure of this MWF.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor
from torch.nn.functional import pad

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.stft import Stft
from mss.eval.estimators import Song

WINDOW = 2048
"""Samples of the window of SiSEC 2018; frames are half a window apart."""

MAGNITUDE = "magnitude-mask oracle"
COMPLEX = "complex-mask oracle"
MULTICHANNEL = "multichannel oracle"
DO_NOTHING = "no separation"

# Samples of a channel whose spectra are in memory at a time: 6 s at 44.1 kHz.
_BLOCK = 2**18
# Added to MWF's covariances, relative to their mean power: far below what is heard, far above the
# rounding of single precision (1e-14 of the power), so that a mono mixture can be inverted, too.
_LOADING = 1e-10
# Where every source is silent; below the loading of any power in single precision.
_LEAST_LOADING = 1e-100

Mask = Callable[[Tensor, Tensor], Tensor]
"""(sources [S, C, F, N], mixture [C, F, N]), complex, to a mask [S, C, F, N], real or complex."""


def ideal_binary_mask(sources: Tensor, mix: Tensor, exponent: int) -> Tensor:
    """Return [S, C, F, N] real: 1 where |s|^a is at least half of |x|^a, else 0.

    Args:
        sources: [S, C, F, N] complex.
        mix: [C, F, N] complex.
        exponent: a; 1 compares magnitudes, 2 powers.
    """
    least: Tensor = 0.5 ** (1 / exponent) * mix.abs()
    return (sources.abs() >= least).to(least.dtype)


def ideal_ratio_mask(sources: Tensor, mix: Tensor, exponent: int) -> Tensor:
    """Return [S, C, F, N] real, |s_j|^a / sum_k |s_k|^a; 0 where all sources are silent.

    Args:
        sources: [S, C, F, N] complex.
        mix: [C, F, N] complex; it has no part in this mask.
        exponent: a; 1 is the ratio of magnitudes, 2 that of powers.
    """
    del mix
    power = sources.abs() ** exponent
    return _divide(power, power.sum(dim=0))


def complex_ratio_mask(sources: Tensor, mix: Tensor, bound: float = math.inf) -> Tensor:
    """Return [S, C, F, N] complex128, s / x; 0 where the mixture is silent.

    In double precision, whose range holds the ratio of any two numbers in single precision.

    Args:
        sources: [S, C, F, N] complex.
        mix: [C, F, N] complex.
        bound: the largest magnitude; a larger one keeps its phase.
    """
    mask = _divide(sources.to(torch.complex128), mix.to(torch.complex128))
    if math.isinf(bound):
        return mask
    return mask / (mask.abs() / bound).clamp_min(1)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    silent = denominator == 0
    return torch.where(silent, 0, numerator / denominator.masked_fill(silent, 1))


@dataclass(frozen=True)
class Oracle(ABC):
    """An estimator that knows the true sources.

    Attributes:
        kind: which one, as in the module's docstring.
        label: the class of methods that it bounds; shown with its scores.
        rest: the sources are not all of the mixture (vocals alone, say): what they leave of it
            takes part as one more source, so that the mask has something to tell them from.
    """

    kind: str
    label: str
    rest: bool

    @property
    def name(self) -> str:
        """What make_oracle calls it, such as "irm2@2048"."""
        return self.kind

    @property
    def system(self) -> str:
        """Name of its folder of results, such as "oracle-irm2-2048"."""
        return f"oracle-{self.name.replace('@', '-')}"

    @torch.no_grad()
    def __call__(self, song: Song) -> Tensor:
        """Return the estimates [S, C, T], of the references' type."""
        sources = song.references
        if self.rest:
            rest = song.mixture - sources.sum(dim=0)
            sources = torch.cat([sources, rest[None]])
        return self.estimate(song.mixture, sources)[: len(song.references)]

    @abstractmethod
    def estimate(self, mix: Tensor, sources: Tensor) -> Tensor:
        """Return the estimates [S, C, T] of all sources [S, C, T] from the mixture [C, T]."""


@dataclass(frozen=True)
class Mixture(Oracle):
    """The mixture divided by the number of sources: what is scored without any separation."""

    def estimate(self, mix: Tensor, sources: Tensor) -> Tensor:
        return (mix / len(sources)).expand_as(sources).to(sources.dtype)


@dataclass(frozen=True)
class SpectralOracle(Oracle):
    """An oracle that filters the mixture's spectrogram, a few seconds at a time.

    Attributes:
        window: samples of the Hann window and its transform; frames are half of it apart. The
            signal is silence before its beginning and after its end.
    """

    window: int

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.window}"

    def estimate(self, mix: Tensor, sources: Tensor) -> Tensor:
        signals = _Signals(mix, sources, self.window)
        spectral_filter = self.prepare(signals)
        estimates = torch.empty_like(sources)
        for block in signals.blocks():
            spectra = signals.spectra(block)
            filtered = spectral_filter(spectra[1:], spectra[0])
            wave = signals.stft.inverse(filtered, signals.padded(block))
            kept = wave[..., self.window :][..., : block.stop - block.start]
            estimates[..., block.start : block.stop] = kept
        return estimates

    @abstractmethod
    def prepare(self, signals: _Signals) -> Mask:
        """Return the filter (sources [S, C, F, N], mixture [C, F, N]) -> estimates [S, C, F, N]."""


@dataclass(frozen=True)
class MaskOracle(SpectralOracle):
    """The mixture times a mask of each bin.

    Attributes:
        mask: of the mixture.
    """

    mask: Mask

    def prepare(self, signals: _Signals) -> Mask:
        return lambda sources, mix: (self.mask(sources, mix) * mix).to(sources.dtype)


@dataclass(frozen=True)
class WienerOracle(SpectralOracle):
    """The multichannel Wiener filter of the sources' own powers and spatial covariances.

    The local Gaussian model (Duong et al., IEEE TASLP 18(7), 2010), of which one covariance a bin
    holds for the whole song:

        v_j(n, f) = mean over channels of |s_j|^2
        R_j(f)    = sum_n s_j s_j^H / sum_n v_j
    """

    def prepare(self, signals: _Signals) -> Mask:
        return partial(multichannel_wiener, spatial=_spatial_covariances(signals))


def multichannel_wiener(sources: Tensor, mix: Tensor, spatial: Tensor) -> Tensor:
    """Return v_j R_j (sum_k v_k R_k)^-1 x, [S, C, F, N] complex, with v as in WienerOracle.

    Args:
        sources: [S, C, F, N] complex, of which the powers v are taken.
        mix: [C, F, N] complex.
        spatial: [S, F, C, C] complex128, R.
    """
    power = reduce(sources.abs().double().square(), "s c f n -> s f n", "mean")
    covariance = einsum(power.to(spatial.dtype), spatial, "s f n, s f c d -> f n c d")
    mean_power = einsum(covariance.real, "f n c c -> f n") / len(mix)
    loading = (_LOADING * mean_power).clamp_min(_LEAST_LOADING)
    identity = torch.eye(len(mix), dtype=spatial.dtype, device=spatial.device)
    x = rearrange(mix.to(spatial.dtype), "c f n -> f n c 1")
    whitened = torch.linalg.solve(covariance + loading[..., None, None] * identity, x)
    filtered: Tensor = einsum(spatial, whitened[..., 0], "s f c d, f n d -> s c f n")
    return (power[:, None] * filtered).to(sources.dtype)


def _spatial_covariances(signals: _Signals) -> Tensor:
    """Return R of WienerOracle, [S, F, C, C] complex128; 0 where a source is silent throughout."""
    parts = []
    for block in signals.blocks():
        spectra = signals.spectra(block)[1:, ..., signals.own_frames(block)]
        y = rearrange(spectra.to(torch.complex128), "s c f n -> s f c n")
        parts.append(y @ y.mH)
    covariance = torch.stack(parts).sum(dim=0)
    # sum_n v is the trace divided by the channels
    power = einsum(covariance.real, "s f c c -> s f") / covariance.shape[-1]
    return _divide(covariance, power[..., None, None])


@dataclass(frozen=True)
class _Block:
    """Samples `start` to `stop` of a song, `start` on the grid of the frames."""

    start: int
    stop: int


class _Signals:
    """A mixture and its sources, transformed a block at a time as if it was the whole song.

    A sample is made by the frames whose centres are within half a window, and those see the
    samples within a whole one: with a window of context on both sides, every block has the
    frames of the whole song, and what the transform itself pads with reaches none of them.
    """

    def __init__(self, mix: Tensor, sources: Tensor, window: int) -> None:
        self.mix = mix
        self.sources = sources
        self.stft = Stft(window, window // 2).to(mix.device)

    def blocks(self) -> Iterator[_Block]:
        """Yield the blocks of the song, one after the other."""
        length = self.mix.shape[-1]
        step = math.ceil(_BLOCK / self.stft.hop) * self.stft.hop
        for start in range(0, max(1, length), step):
            yield _Block(start, min(start + step, length))

    def spectra(self, block: _Block) -> Tensor:
        """Return [1 + S, C, F, N], the mixture and the sources, of the block and its context."""
        signals = [self._excerpt(self.mix[None], block), self._excerpt(self.sources, block)]
        spectra: Tensor = self.stft(torch.cat(signals))
        return spectra

    def padded(self, block: _Block) -> int:
        """Samples of a block and its context."""
        return self._hops(block) * self.stft.hop + 2 * self.stft.n_fft

    def own_frames(self, block: _Block) -> slice:
        """Frames of `spectra` that are no other block's; the last block has the last one, too."""
        context = self.stft.n_fft // self.stft.hop
        last = block.stop == self.mix.shape[-1]
        return slice(context, context + self._hops(block) + last)

    def _hops(self, block: _Block) -> int:
        return math.ceil((block.stop - block.start) / self.stft.hop)

    def _excerpt(self, wave: Tensor, block: _Block) -> Tensor:
        """Return [..., padded], zeros where the song has no samples."""
        start = block.start - self.stft.n_fft
        stop = start + self.padded(block)
        inside = wave[..., max(0, start) : stop]
        return pad(inside, (max(0, -start), max(0, stop - wave.shape[-1])))


_MASKS: dict[str, tuple[str, Mask]] = {
    "ibm1": (MAGNITUDE, partial(ideal_binary_mask, exponent=1)),
    "ibm2": (MAGNITUDE, partial(ideal_binary_mask, exponent=2)),
    "irm1": (MAGNITUDE, partial(ideal_ratio_mask, exponent=1)),
    "irm2": (MAGNITUDE, partial(ideal_ratio_mask, exponent=2)),
    "cirm-bounded": (COMPLEX, partial(complex_ratio_mask, bound=1.0)),
    "cirm": (COMPLEX, complex_ratio_mask),
}
KINDS: tuple[str, ...] = ("mixture", "ibm1", "ibm2", "irm1", "irm2", "mwf", "cirm-bounded", "cirm")


def make_oracle(name: str, rest: bool = False) -> Oracle:
    """Return the oracle called "irm2" (at SiSEC's window of 2048 samples) or "irm2@4096".

    Args:
        name: one of KINDS, with a window of an even number of samples where it has one.
        rest: see Oracle.

    Raises:
        ConfigError: no such oracle, or no such window.
    """
    kind, at, window = name.partition("@")
    if kind not in KINDS:
        hint = nearest_name_hint(kind, KINDS)
        raise ConfigError(f"oracle: there is no oracle named {kind!r}.{hint}")
    if kind == "mixture":
        if at:
            raise ConfigError(f"oracle: {name!r}: the mixture has no window; give mixture")
        return Mixture(kind, DO_NOTHING, rest)
    samples = _parse_window(name, window) if at else WINDOW
    if kind == "mwf":
        return WienerOracle(kind, MULTICHANNEL, rest, samples)
    label, mask = _MASKS[kind]
    return MaskOracle(kind, label, rest, samples, mask)


def make_oracles(names: Sequence[str], rest: bool = False) -> tuple[Oracle, ...]:
    """Return the oracles of `names`, each once, in their order; see make_oracle."""
    oracles = [make_oracle(name, rest) for name in names]
    return tuple({oracle.name: oracle for oracle in oracles}.values())


def _parse_window(name: str, window: str) -> int:
    if not window.isdecimal() or int(window) < 2 or int(window) % 2:
        raise ConfigError(
            f"oracle: {name!r}: the window is an even number of samples, as in irm2@4096"
        )
    return int(window)
