"""Mixtures in which every stem is silent often enough to learn what that sounds like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.rng import derive_seed, torch_generator
from mss.data.segments import SegmentDataset, collate
from mss.data.tracks import TrackSet
from mss.distill.presence_net import PresenceNet, is_sounding, levels_db
from mss.metrics.energy import energy

Share = Annotated[float, Field(ge=0, le=1)]

_AT_A_TIME = 16
"""Excerpts in memory at once."""

_FADE = 0.002
"""Of an excerpt: 10 ms of 5 s."""


@dataclass(frozen=True)
class Mixture:
    """How a batch of mixtures is made of a batch of excerpts.

    Attributes:
        items: [B, K], the excerpt that each stem is taken from.
        gains: [B, K], by which it is multiplied.
        spans: [B, K, 2], where it begins and ends, in [0, 1]; it is silent elsewhere.
    """

    items: Tensor
    gains: Tensor
    spans: Tensor


@dataclass(frozen=True)
class StemMixing:
    """What becomes of stems before they are mixed.

    Attributes:
        left_out: share of the stems that are left out; at least one of a mixture stays.
        partial: share that is left out but for a part of 5 to 90 % of the excerpt, as where a
            singer enters late: what songs have seldom, and is mistaken for silence most easily.
        faint: share that is turned down by 20 to 60 dB, to about where silence begins.
        gain_db: the others are turned up or down by at most so many dB.
        remix: share of the batches whose stems are exchanged between their items, so that nothing
            can be told of one stem by what usually goes with it.
    """

    left_out: Share = 0.3
    partial: Share = 0.2
    faint: Share = 0.1
    gain_db: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    remix: Share = 0.5

    def __post_init__(self) -> None:
        if self.left_out + self.partial + self.faint > 1 + 1e-9:
            raise ConfigError("left_out, partial, faint: these shares are more than 1 together")

    def draw(self, batch: int, stems: int, generator: torch.Generator) -> Mixture:
        """Draw how the stems of a batch are mixed."""
        shape = (batch, stems)
        exchange = torch.rand(1, generator=generator).item()
        kinds, places, lengths, starts = (torch.rand(shape, generator=generator) for _ in range(4))
        orders = [torch.randperm(batch, generator=generator) for _ in range(stems)]
        items = torch.arange(batch)[:, None].expand(shape)
        if exchange < self.remix:
            items = torch.stack(orders, dim=1)
        left_out = kinds < self.left_out
        left_out &= kinds < kinds.amax(dim=1, keepdim=True)  # the largest draw stays
        faint = kinds > 1 - self.faint
        gains_db = torch.where(faint, -20 - 40 * places, (2 * places - 1) * self.gain_db)
        partial = (kinds >= self.left_out) & (kinds < self.left_out + self.partial)
        lengths = torch.where(partial, 0.05 + 0.85 * lengths, 1.0)
        starts = starts * (1 - lengths)
        return Mixture(
            items,
            torch.where(left_out, 0, 10 ** (gains_db / 20)),
            torch.stack([starts, starts + lengths], dim=-1),
        )


def mixed_excerpts(
    net: PresenceNet, stems: Tensor, mixtures: Sequence[Mixture]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mix stems [B, K, C, T] in several ways.

    Yields:
        What a net hears of a mixture, features [M, N], and what it should tell, levels [K]; nothing
        of a mixture that does not sound.
    """
    # item by item: large blocks of memory cost more time than all that is computed in them
    energies = torch.stack([energy(item) for item in stems])  # [B, K]
    for mixture in mixtures:
        rows = (mixture.items.tolist(), mixture.gains.tolist(), mixture.spans.tolist())
        for row in zip(*rows, strict=True):
            waves, own = [], []
            for stem, (item, gain, (start, end)) in enumerate(zip(*row, strict=True)):
                whole = end - start >= 1
                wave = stems[item, stem] if whole else _part(stems[item, stem], start, end)
                waves.append(gain * wave)
                own.append(gain**2 * (energies[item, stem] if whole else energy(wave)))
            mix = torch.stack(waves).sum(dim=0)  # [C, T]
            if is_sounding(mix):
                levels = levels_db(torch.stack(own), energy(mix), net.config.floor_db)
                yield net.features(mix[None])[0], levels


def _part(wave: Tensor, start: float, end: float) -> Tensor:
    """Return a stem [C, T] that is silent but from `start` to `end`, shares of its length.

    It is faded in and out, since a click would tell.
    """
    places = torch.linspace(0, 1, wave.shape[-1], device=wave.device)
    return wave * (torch.minimum(places - start, end - places) / _FADE).clamp(0, 1)


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
        """Take excerpts of songs as they are, but for stems that are left out, wholly or in part.

        Args:
            net: what will hear them, on its device.
            tracks: the songs.
            count: excerpts, at places drawn uniformly; fewer are given where some do not sound.
            left_out: share of the stems that is, drawn for each excerpt anew; as many more (as
                far as there are as many) are left out but for a part of the excerpt.
            seed: of the draws.

        Raises:
            DataError: a song can't be read, or none sounds.
        """
        seed = derive_seed(seed, "presence_excerpts")
        dataset = SegmentDataset(tracks, net.config.segment_frames, count, seed)
        mixing = StemMixing(left_out, min(left_out, 1 - left_out), faint=0, gain_db=0, remix=0)
        device = next(net.parameters()).device
        pairs: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for first, stems in _batches(dataset):
                generator = torch_generator(seed, "left_out", first)
                mixture = mixing.draw(len(stems), stems.shape[1], generator)
                pairs += mixed_excerpts(net, stems.to(device), [mixture])
        if not pairs:
            raise DataError(f"{tracks.name}: the songs of {tracks.split} are silent throughout")
        features, levels = (torch.stack(column) for column in zip(*pairs, strict=True))
        return cls(features, levels, len(tracks))

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
