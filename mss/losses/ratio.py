"""Losses in decibels: an error relative to its reference, so that quiet sources count as loud ones.

A silent reference has no such ratio. The constant that is added to both sides then makes the loss
ask for silence, with a finite gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss, check_positive


def _decibels(error: Tensor, reference: Tensor, eps: float) -> Tensor:
    return 10 * (torch.log10(error + eps) - torch.log10(reference + eps))


@dataclass(frozen=True)
class SDRLossConfig(LossConfig):
    """Keys of the negative SDR.

    Attributes:
        weights: see LossConfig.
        eps: added to both energies, which are sums over channels and samples.
    """

    eps: float = 1e-7


class SDRLoss(SourceLoss):
    """Negative signal to distortion ratio, in dB:

        10 log10((|y - f|^2 + eps) / (|y|^2 + eps)),  |.|^2 summed over channels and samples.

    The score of the Music Demixing challenges (arXiv 2108.13559), of a segment instead of a song.
    A leak into a silent source counts by eps alone, tens of dB at its default: where stems are
    often silent, raise it (an energy of 1 is 10 s of stereo at -59 dB of full scale).
    """

    Config = SDRLossConfig

    def __init__(
        self, config: SDRLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        check_positive(config.eps, f"{where}.eps")
        self.eps = config.eps

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        wave, reference = estimate.wave.float(), target.sources.float()
        distortion = (wave - reference).square().sum(dim=(2, 3))
        return Errors(_decibels(distortion, reference.square().sum(dim=(2, 3)), self.eps))


@dataclass(frozen=True)
class SISDRLossConfig(LossConfig):
    """Keys of the negative SI-SDR.

    Attributes:
        weights: see LossConfig.
        eps: added to the energies of a channel, which are sums over samples.
        zero_mean: subtract each channel's mean from estimate and reference first.
    """

    eps: float = 1e-8
    zero_mean: bool = True


class SISDRLoss(SourceLoss):
    """Negative scale-invariant SDR (Le Roux et al., ICASSP 2019, arXiv 1811.02508), in dB.

    For each channel, with g = <f, y> / |y|^2:  10 log10(|g y - f|^2 / |g y|^2); then the mean of
    the channels, as the score of that name. It leaves the level of the estimate free: alone it
    does not make stems that sum to their mixture.
    """

    Config = SISDRLossConfig

    def __init__(
        self, config: SISDRLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        check_positive(config.eps, f"{where}.eps")
        self.config = config

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        wave, reference, eps = estimate.wave.float(), target.sources.float(), self.config.eps
        if self.config.zero_mean:
            wave = wave - wave.mean(dim=-1, keepdim=True)
            reference = reference - reference.mean(dim=-1, keepdim=True)
        energy = reference.square().sum(dim=-1, keepdim=True)
        gain = (wave * reference).sum(dim=-1, keepdim=True) / (energy + eps)
        scaled = gain * reference
        distortion = (scaled - wave).square().sum(dim=-1)
        return Errors(_decibels(distortion, scaled.square().sum(dim=-1), eps).mean(dim=2))


@dataclass(frozen=True)
class L1SNRLossConfig(LossConfig):
    """Keys of the L1-SNR.

    Attributes:
        weights: see LossConfig.
        eps: added to both mean absolute values. Where the error falls below it, so does its
            pull: 1e-3 is -60 dB of full scale.
    """

    eps: float = 1e-3


class L1SNRLoss(SourceLoss):
    """Negative signal to noise ratio of mean absolute values:

        10 log10((mean |f - y| + eps) / (mean |y| + eps)), over channels and samples

    (Watcharasupat et al., "A generalized bandsplit neural network for cinematic audio source
    separation", arXiv 2309.02539, with means for their sums, as in their code).
    """

    Config = L1SNRLossConfig

    def __init__(
        self, config: L1SNRLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        check_positive(config.eps, f"{where}.eps")
        self.eps = config.eps

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        wave, reference = estimate.wave.float(), target.sources.float()
        error = (wave - reference).abs().mean(dim=(2, 3))
        return Errors(_decibels(error, reference.abs().mean(dim=(2, 3)), self.eps))
