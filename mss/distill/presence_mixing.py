"""Mixtures in which every stem is silent often enough to learn what that sounds like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor

from mss.core.rng import derive_seed, torch_generator
from mss.data.segments import SegmentDataset, collate
from mss.data.tracks import TrackSet
from mss.distill.presence_net import PresenceNet, is_sounding, relative_levels

Share = Annotated[float, Field(ge=0, le=1)]

_AT_A_TIME = 16
"""Excerpts in memory at once."""


@dataclass(frozen=True)
class StemMixing:
    """What becomes of stems before they are mixed.

    Attributes:
        left_out: share of the stems that are left out; at least one of a mixture stays.
        faint: share that is turned down by 20 to 60 dB, to about where silence begins.
        gain_db: the others are turned up or down by at most so many dB.
        remix: share of the batches whose stems are exchanged between their items, so that nothing
            can be told of one stem by what usually goes with it.
    """

    left_out: Share = 0.3
    faint: Share = 0.1
    gain_db: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    remix: Share = 0.5

    def __call__(self, stems: Tensor, generator: torch.Generator) -> Tensor:
        """Return other stems [B, K, C, T] for those given."""
        batch, count = stems.shape[:2]
        exchange, kinds, places = (
            torch.rand(shape, generator=generator)
            for shape in ((1,), (batch, count), (batch, count))
        )
        orders = torch.stack([torch.randperm(batch, generator=generator) for _ in range(count)])
        if exchange < self.remix:
            index = rearrange(orders, "k b -> b k").to(stems.device)
            stems = stems[index, torch.arange(count, device=stems.device)]
        left_out = kinds < self.left_out
        left_out &= kinds < kinds.amax(dim=1, keepdim=True)  # the largest draw stays
        faint = kinds > 1 - self.faint
        gains_db = torch.where(faint, -20 - 40 * places, (2 * places - 1) * self.gain_db)
        gains = torch.where(left_out, 0, 10 ** (gains_db / 20)).to(stems)
        return stems * rearrange(gains, "b k -> b k 1 1")


def mixed_excerpts(
    net: PresenceNet, stems: Tensor, mixing: StemMixing, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix stems [B, K, C, T] anew; return what a net hears of it, and what it should tell.

    Returns:
        Features [b, M, N] and levels [b, K] of those mixtures that sound; b may be 0.
    """
    stems = mixing(stems, generator)
    mix = stems.sum(dim=1)
    levels = relative_levels(stems, mix[:, None], net.config.floor_db)
    sounding = is_sounding(mix)
    return net.features(mix[sounding]), levels[sounding]


@dataclass(frozen=True)
class Excerpts:
    """Excerpts of songs, ready to be heard often.

    Attributes:
        features: [n, M, N].
        levels: [n, S] in dB, the true ones.
        songs: how many the excerpts are of.
    """

    features: Tensor
    levels: Tensor
    songs: int

    @classmethod
    def of(
        cls, net: PresenceNet, tracks: TrackSet, count: int, left_out: float, seed: int
    ) -> Excerpts:
        """Take excerpts of songs as they are, but for stems that are left out.

        Args:
            net: what will hear them, on its device.
            tracks: the songs.
            count: excerpts, at places drawn uniformly; fewer are given where some do not sound.
            left_out: share of the stems, drawn for each excerpt anew.
            seed: of the draws.
        """
        seed = derive_seed(seed, "presence_excerpts")
        dataset = SegmentDataset(tracks, net.config.segment_frames, count, seed)
        mixing = StemMixing(left_out, faint=0, gain_db=0, remix=0)
        device = next(net.parameters()).device
        features, levels = [], []
        with torch.no_grad():
            for first, stems in _batches(dataset):
                generator = torch_generator(seed, "left_out", first)
                heard, true = mixed_excerpts(net, stems.to(device), mixing, generator)
                features.append(heard)
                levels.append(true)
        return cls(torch.cat(features), torch.cat(levels), len(tracks))

    def told(self, net: PresenceNet) -> Tensor:
        """Return the levels [n, S] in dB that a net (in eval mode) tells."""
        with torch.no_grad():
            return torch.cat([net.levels(part) for part in torch.split(self.features, _AT_A_TIME)])

    def loss(self, net: PresenceNet) -> float:
        """Return the loss of a net (in eval mode)."""
        total = 0.0
        with torch.no_grad():
            for heard, true in zip(
                *(torch.split(tensor, _AT_A_TIME) for tensor in (self.features, self.levels)),
                strict=True,
            ):
                total += net.loss(heard, true).item() * len(true)
        return total / len(self.levels)


def _batches(dataset: SegmentDataset) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first item, and the stems [b, K, C, T], of a few items at a time."""
    for first in range(0, len(dataset), _AT_A_TIME):
        items = range(first, min(first + _AT_A_TIME, len(dataset)))
        yield first, collate([dataset[0, index] for index in items]).stems
