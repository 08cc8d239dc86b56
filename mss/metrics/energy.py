"""Scores from energy ratios of whole recordings, and the score of doing nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from einops import einsum, reduce
from pydantic import Field
from torch import Tensor

from mss.metrics.base import Measure, SingleMetric


def energy(audio: Tensor) -> Tensor:
    """Return the energy [...] of audio [..., C, T] in float64, summed over channels and samples."""
    return reduce(audio.double().square(), "... c t -> ...", "sum")


def ratio_db(numerator: Tensor, denominator: Tensor, eps: float) -> Tensor:
    """Return 10 log10((numerator + eps) / (denominator + eps)) in dB."""
    return 10 * torch.log10((numerator + eps) / (denominator + eps))


@dataclass(frozen=True)
class NSDRConfig:
    """Keys of NSDR.

    Attributes:
        eps: added to both energies (of samples in [-1, 1]). It bounds the score of a perfect
            estimate: 10 s of stereo at -20 dB of full scale can reach 110 dB.
    """

    eps: Annotated[float, Field(gt=0)] = 1e-7


class NSDR(SingleMetric):
    """The challenges' signal to distortion ratio of whole songs, also called uSDR or global SDR:

        10 log10((|s|^2 + eps) / (|s - e|^2 + eps)),  |.|^2 summed over channels and samples.

    A silent reference (all samples exactly zero) has no such ratio: its score is NaN, to be counted
    apart and described by its leakage, instead of a number that only says what eps is.
    """

    Config = NSDRConfig

    def __init__(self, config: NSDRConfig | None = None) -> None:
        self.config = config or NSDRConfig()

    @property
    def measure(self) -> Measure:
        return Measure(
            name="nsdr",
            unit="dB",
            higher_is_better=True,
            definition=(
                "10 log10((|s|^2 + eps) / (|s - e|^2 + eps)) over channels and samples of the"
                f" whole song, eps {self.config.eps:g}; undefined for an all-zero reference"
            ),
            citation=(
                "Mitsufuji et al., Music Demixing Challenge 2021, arXiv 2108.13559;"
                " Fabbro et al., Sound Demixing Challenge 2023, arXiv 2308.06979"
            ),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        _check_shapes(reference, estimate)
        signal = energy(reference)
        distortion = energy(reference.double() - estimate.double())
        return _undefined_where_silent(ratio_db(signal, distortion, self.config.eps), signal)


@dataclass(frozen=True)
class SISDRConfig:
    """Keys of SISDR.

    Attributes:
        zero_mean: subtract each channel's mean from reference and estimate first.
        eps: share of the estimate's energy added to both energies, which bounds the score to
            +-10 log10(eps) dB without making it depend on the level.
    """

    zero_mean: bool = True
    eps: Annotated[float, Field(gt=0)] = 1e-12


class SISDR(SingleMetric):
    """Scale-invariant signal to distortion ratio, the mean of the channels' scores in dB.

    For each channel, with g = <e, s> / |s|^2:  10 log10(|g s|^2 / |g s - e|^2).

    Each channel is scaled by itself, so a wrong balance between them is not seen. A channel whose
    reference is silent (after the mean's subtraction) is left out; where all of them are, the score
    is NaN. A silent estimate, of which no scaled version exists, scores 10 log10(eps).
    """

    Config = SISDRConfig

    def __init__(self, config: SISDRConfig | None = None) -> None:
        self.config = config or SISDRConfig()

    @property
    def measure(self) -> Measure:
        means = "channel means subtracted" if self.config.zero_mean else "means kept"
        return Measure(
            name="si_sdr",
            unit="dB",
            higher_is_better=True,
            definition=(
                "10 log10(|g s|^2 / |g s - e|^2), g = <e, s> / |s|^2, per channel over the whole"
                f" song, mean over channels, {means}; undefined for an all-zero reference"
            ),
            citation="Le Roux et al., SDR: half-baked or well done?, ICASSP 2019, arXiv 1811.02508",
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        _check_shapes(reference, estimate)
        reference, estimate = reference.double(), estimate.double()
        if self.config.zero_mean:
            reference = reference - reference.mean(dim=-1, keepdim=True)
            estimate = estimate - estimate.mean(dim=-1, keepdim=True)
        dot = einsum(estimate, reference, "s c t, s c t -> s c")
        signal = reduce(reference.square(), "s c t -> s c", "sum")
        total = reduce(estimate.square(), "s c t -> s c", "sum")

        # |g s|^2 = <e, s>^2 / |s|^2 and |g s - e|^2 = |e|^2 - |g s|^2 (Pythagoras), both divided by
        # |e|^2 so that eps is relative to it; rounding could make the latter negative.
        tiny = torch.finfo(torch.float64).tiny
        along = dot.square() / signal.clamp_min(tiny) / total.clamp_min(tiny)
        across = torch.where(total > 0, (1 - along).clamp_min(0), 1)
        scores = ratio_db(along, across, self.config.eps)
        return _undefined_where_silent(scores, signal).nanmean(dim=-1)


def best_constant_gain(reference: Tensor, mixture: Tensor) -> Tensor:
    """Return the gains [S] at which the mixture [C, T] is closest to each reference [S, C, T].

    The least squares solution g = <s, x> / |x|^2, in float64; 0 for a silent mixture.
    """
    mixture = mixture.double()
    dot = einsum(reference.double(), mixture, "s c t, c t -> s")
    return dot / energy(mixture).clamp_min(torch.finfo(torch.float64).tiny)


def do_nothing(reference: Tensor, mixture: Tensor) -> Tensor:
    """Return the mixture at its best constant gain per source, [S, C, T] as `reference`.

    What scores no higher than this has separated nothing. The plain mixture would be too low a bar:
    a model that only turns the volume down beats it.
    """
    gains = best_constant_gain(reference, mixture)
    return einsum(gains, mixture.double(), "s, c t -> s c t").to(reference.dtype)


def _undefined_where_silent(scores: Tensor, signal: Tensor) -> Tensor:
    return torch.where(signal > 0, scores, torch.nan)


def _check_shapes(reference: Tensor, estimate: Tensor) -> None:
    assert reference.shape == estimate.shape and reference.ndim == 3, (
        f"reference {tuple(reference.shape)}, estimate {tuple(estimate.shape)}"
    )
