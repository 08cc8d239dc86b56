"""Losses of CrossNet-Open-Unmix: spectra and waves, of sources and of sums of sources.

Sawata, Uhlich, Takahashi and Mitsufuji, "All for one and one for all: improving music separation by
bridging networks", ICASSP 2021 (arXiv 2010.04228), with the complex spectra of the entries of
sdx23-aimless (Sound Demixing Challenge 2023) as the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import torch
from einops import einsum, rearrange
from torch import Tensor

from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss, check_not_negative
from mss.losses.spectral import frame_blocks, make_stft, spectrograms

_EPS = 1e-10
# Frames whose spectra of all sources are there at once: 24 s of the default hop at 44.1 kHz, so a
# training crop goes in one piece and a whole song takes little memory.
_BLOCK_FRAMES = 1024


def weighted_sdr(estimate: Tensor, reference: Tensor, mix: Tensor) -> Tensor:
    """Return the weighted SDR loss of waves [..., T], in [-1, 1]:

        -a cos(s, s') - (1 - a) cos(n, n'),  n = x - s,  n' = x - s',  a = |s|^2 / (|s|^2 + |n|^2)

    (Choi et al., "Phase-aware speech enhancement with deep complex U-Net", ICLR 2019). The cosine
    of a silent wave is 0.

    Args:
        estimate, reference: s', s.
        mix: x.

    Returns:
        [...].
    """
    noise, estimated_noise = mix - reference, mix - estimate
    energy, noise_energy = _energy(reference), _energy(noise)
    share = energy / (energy + noise_energy + _EPS)
    return -share * _cosine(reference, estimate) - (1 - share) * _cosine(noise, estimated_noise)


def _energy(wave: Tensor) -> Tensor:
    return wave.square().sum(dim=-1)


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    # eps below each root: the gradient of a root is not finite at 0
    norms = torch.sqrt(_energy(x) + _EPS) * torch.sqrt(_energy(y) + _EPS)
    return (x * y).sum(dim=-1) / norms


@dataclass(frozen=True)
class MultiDomainLossConfig(LossConfig):
    """Keys of both losses.

    Attributes:
        weights: see LossConfig.
        wave: weight of the waves' term beside that of the spectra.
        domain: of the spectra: "complex" (aimless) or "magnitude" (X-UMX).
        nfft, nhop: STFT of the waves, where the model gives no spectrogram of its own, samples.
    """

    wave: float = 10.0
    domain: Literal["complex", "magnitude"] = "complex"
    nfft: int = 4096
    nhop: int = 1024


class MultiDomainLoss(SourceLoss):
    """Mean squared error of each source's spectra and weighted SDR of its wave:

        mean |F - Y|^2 + wave (1 + mean over channels of wSDR(f, y; x)).

    The mean of the first is over channels, bins and frames of a model's own spectrogram, else of an
    unscaled STFT (see SpectralLoss).
    """

    Config = MultiDomainLossConfig

    def __init__(
        self, config: MultiDomainLossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        check_not_negative(config.wave, f"{where}.wave", "weight")
        self.stft = make_stft(config.nfft, config.nhop, where)
        self.config = config
        groups = list(self.groups(len(sources)))
        self._members = torch.zeros(len(groups), len(sources))
        for row, group in enumerate(groups):
            self._members[row, list(group)] = 1

    def groups(self, sources: int) -> Iterator[tuple[int, ...]]:
        """Yield the sums of sources that are compared, by the sources' places."""
        return combinations(range(sources), 1)

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        assert target.mix is not None, "this loss needs the mixture"
        members = self._members.to(target.weight.device)
        spectrum = self._spectral_errors(estimate, target, members)
        wave = self._wave_errors(estimate, target, members)
        share = _shares(members, target.weight > 0)
        terms = {
            "spectrum": einsum(share, spectrum, "b k s, b k -> b s"),
            "wave": einsum(share, wave, "b k s, b k -> b s"),
        }
        return Errors(terms["spectrum"] + self.config.wave * terms["wave"], terms)

    def _spectral_errors(self, estimate: Estimate, target: Target, members: Tensor) -> Tensor:
        """Return the mean squared error [B, K] of each group's sum of spectra.

        The error of a sum is the sum of the errors d_s, and its square one of their products:
        |sum_s d_s|^2 = sum_st <d_s, d_t>. So the K sums themselves are never made.
        """
        by_block, count = [], 0
        for block in self._differences(estimate, target):
            # a frame at a time: a matrix product adds up in the order of its numbers, and float32
            # loses digits over millions of them (4 % of a song's error), where sum() adds in pairs
            by_frame = einsum(block, block, "b r s m, b r t m -> b r s t")
            by_block.append(by_frame.sum(dim=1))
            count += block.shape[1] * block.shape[3]
        if self.config.domain == "complex":
            count //= 2  # the mean is over complex numbers, of two squares each
        products = torch.stack(by_block).sum(dim=0)
        squares = einsum(members, products, members, "k s, b s t, k t -> b k")
        return squares.clamp_min(0) / count  # rounding may make a zero negative

    def _differences(self, estimate: Estimate, target: Target) -> Iterator[Tensor]:
        """Yield the errors of the sources' spectra as real numbers [B, C N, S, M], N frames each.

        A model's own spectra, which are there already, are one block.
        """
        blocks: Iterable[tuple[slice, slice]] = [(slice(None), slice(None))]
        if estimate.spec is None:
            blocks = frame_blocks(self.stft, estimate.wave.shape[-1], _BLOCK_FRAMES)
        for samples, kept in blocks:
            ours = Estimate(estimate.wave[..., samples], estimate.spec, estimate.stft)
            references = Target(target.sources[..., samples], target.weight)
            by_source = [
                self._difference(own[..., kept], reference[..., kept])
                for own, reference in spectrograms(ours, references, self.stft)
            ]
            yield torch.stack(by_source, dim=2)

    def _difference(self, ours: Tensor, reference: Tensor) -> Tensor:
        """Return the error of spectra [B, C, F, N] as real numbers [B, C N, F (2)]."""
        if self.config.domain == "magnitude":
            return rearrange(ours.abs() - reference.abs(), "b c f n -> b (c n) f")
        return rearrange(torch.view_as_real(ours - reference), "b c f n reim -> b (c n) (f reim)")

    def _wave_errors(self, estimate: Estimate, target: Target, members: Tensor) -> Tensor:
        """Return 1 + the weighted SDR [B, K] of each group's sum of waves: 0 is perfect."""
        assert target.mix is not None
        wave, reference, mix = estimate.wave.float(), target.sources.float(), target.mix.float()
        by_group = []
        for row in members.bool().tolist():
            group = [place for place, member in enumerate(row) if member]
            ours, theirs = wave[:, group].sum(dim=1), reference[:, group].sum(dim=1)  # [B, C, T]
            by_group.append(1 + weighted_sdr(ours, theirs, mix).mean(dim=1))
        return torch.stack(by_group, dim=1)


class CombinationLoss(MultiDomainLoss):
    """The multi-domain loss of the sums of every 1, 2, ... S - 1 sources (of 4 sources: 14 sums).

    The error of a source is the mean over the sums that it is part of, each by 1 / (number of its
    members), so that the mean over sources is the mean over sums. A sum of which a member is not
    known is left out.
    """

    def groups(self, sources: int) -> Iterator[tuple[int, ...]]:
        sizes = range(1, max(2, sources))
        return chain.from_iterable(combinations(range(sources), size) for size in sizes)


def _shares(members: Tensor, known: Tensor) -> Tensor:
    """Return what each group [K, S] counts in a source's error where `known` [B, S], [B, K, S].

    For each known source the shares sum to 1; for the others, of which no group is known, to 0.
    """
    whole = einsum(members, (~known).float(), "k s, b s -> b k") == 0
    shares = whole[:, :, None] * (members / members.sum(dim=1, keepdim=True))
    return shares / shares.sum(dim=1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
