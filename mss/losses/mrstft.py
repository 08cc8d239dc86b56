"""Multi-resolution STFT loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss, check_not_negative, check_positive
from mss.losses.spectral import make_stft, power


@dataclass(frozen=True)
class MRSTFTLossConfig(LossConfig):
    """Keys of the multi-resolution STFT loss.

    Attributes:
        weights: see LossConfig.
        nffts, nhops: window and hop of each resolution, samples.
        convergence: weight of the spectral convergence.
        log_magnitude: weight of the L1 of log magnitudes.
        magnitude: weight of the L1 of magnitudes.
        complex: weight of the L1 of complex spectra, the only one that sees phases; with nffts
            [4096, 2048, 1024, 512, 256] and nhops of 147 samples it is what the public trainings
            of BS-RoFormer add to the L1 of the waves.
        eps: added to powers, which bounds the logarithm and the gradient of a magnitude.
        floor: a reference quieter than white noise of this rms (of full scale, -60 dB) counts
            as that in the divisor of the spectral convergence: silence has none.
    """

    nffts: tuple[int, ...] = (2048, 1024, 512)
    nhops: tuple[int, ...] = (512, 256, 128)
    convergence: float = 1.0
    log_magnitude: float = 1.0
    magnitude: float = 0.0
    complex: float = 0.0
    eps: float = 1e-8
    floor: float = 1e-3


class MRSTFTLoss(SourceLoss):
    """Distances of spectrograms at several resolutions, averaged over resolutions and channels.

        convergence    ||F| - |Y||_F / |Y|_F      (Frobenius norms over bins and frames)
        log_magnitude  mean |log |F| - log |Y||
        magnitude      mean ||F| - |Y||
        complex        mean |F - Y|

    Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020 (arXiv 1910.11480), in the weighted
    form of Steinmetz and Reiss, "auraloss", DMRN+15, 2020. Magnitudes are (|X|^2 + eps)^(1/2),
    where auraloss clamps the power, so that the gradient does not end at the bound. STFTs are not
    scaled. The waves are compared, also where a model gives spectra.
    """

    Config = MRSTFTLossConfig

    def __init__(
        self, config: MRSTFTLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        if not config.nffts or len(config.nffts) != len(config.nhops):
            raise ConfigError(
                f"{where}.nhops: {len(config.nhops)} hops for {len(config.nffts)} windows; give "
                "one of each for every resolution"
            )
        self.stfts = [
            make_stft(nfft, nhop, where, ("nffts", "nhops"))
            for nfft, nhop in zip(config.nffts, config.nhops, strict=True)
        ]
        weights = {
            "convergence": config.convergence,
            "log_magnitude": config.log_magnitude,
            "magnitude": config.magnitude,
            "complex": config.complex,
        }
        for key, weight in weights.items():
            check_not_negative(weight, f"{where}.{key}", "weight")
        self.term_weights = {key: weight for key, weight in weights.items() if weight}
        if not self.term_weights:
            raise ConfigError(f"{where}.convergence: every term has weight 0; give one a weight")
        check_positive(config.eps, f"{where}.eps")
        check_positive(config.floor, f"{where}.floor")
        self.config = config

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        # a source at a time, so that the validation of a whole song holds the spectra of one
        by_source = [
            self._distances(estimate.wave[:, source].float(), target.sources[:, source].float())
            for source in range(len(self.sources))
        ]
        terms = {
            key: torch.stack([distances[key] for distances in by_source], dim=1)
            for key in self.term_weights
        }
        total = sum(weight * terms[key] for key, weight in self.term_weights.items())
        assert isinstance(total, Tensor)
        return Errors(total, terms)

    def _distances(self, wave: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """Return each term [B] of waves [B, C, T]."""
        sums = dict.fromkeys(self.term_weights, wave.new_zeros(wave.shape[0]))
        for stft in self.stfts:
            stft.to(wave.device)
            # the rms magnitude of white noise is its own rms times the window's norm
            floor = self.config.floor * stft.window.square().sum().sqrt()
            for key, distance in self._at(stft(wave), stft(reference), floor).items():
                sums[key] = sums[key] + distance.mean(dim=1) / len(self.stfts)
        return sums

    def _at(self, ours: Tensor, reference: Tensor, floor: Tensor) -> dict[str, Tensor]:
        """Return each term [B, C] of spectra [B, C, F, N]."""
        eps, distances = self.config.eps, {}
        size, expected = (torch.sqrt(power(spectrum) + eps) for spectrum in (ours, reference))
        if "convergence" in self.term_weights:
            least = floor * math.sqrt(size.shape[-2] * size.shape[-1])
            norm = torch.linalg.vector_norm(expected, dim=(2, 3))
            # the gradient of a norm is not a number where it is 0
            squares = (size - expected).square().sum(dim=(2, 3))
            distances["convergence"] = torch.sqrt(squares + eps) / torch.maximum(norm, least)
        if "log_magnitude" in self.term_weights:
            distances["log_magnitude"] = (size.log() - expected.log()).abs().mean(dim=(2, 3))
        if "magnitude" in self.term_weights:
            distances["magnitude"] = (size - expected).abs().mean(dim=(2, 3))
        if "complex" in self.term_weights:
            distances["complex"] = (ours - reference).abs().mean(dim=(2, 3))
        return distances
