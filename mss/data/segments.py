"""Random excerpts of songs for training, decided by (seed, epoch, index) alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.rng import numpy_generator
from mss.core.types import Batch, Normalise
from mss.data.end_to_end import EndToEnd
from mss.data.stand_ins import StandIns
from mss.data.tracks import IndexedTrack, TrackSet


class LoaderAugment(Protocol):
    """What happens to an item's stems in a loader's worker, before they are mixed.

    Attributes:
        extra_frames: samples by which the output is shorter than the input (T - T').
    """

    @property
    def extra_frames(self) -> int: ...

    def __call__(
        self, stems: Tensor, names: tuple[str, ...], generator: np.random.Generator
    ) -> Tensor:
        """Map stems [K, C, T] of these names to [K, C, T'], with the item's own generator."""
        ...


Trust = Callable[[IndexedTrack, int, int], Tensor]
"""(song, first sample, samples) -> [K] in [0, 1], how far its stems are to be learned from."""


@dataclass(frozen=True)
class Segment:
    """One training item; see Batch.

    Attributes:
        stems: [K, C, T] float32.
        names: of the K stems.
        trust: [K] float32.
        rest: [C, T], what of the item's mix is in no stem; None: nothing.
        crop: which of the fixed crops it is; None: it was drawn.
    """

    stems: Tensor
    names: tuple[str, ...]
    trust: Tensor
    rest: Tensor | None = None
    crop: int | None = None


class Segments(Protocol):
    """Training items by (epoch, index).

    Attributes:
        stems: names of the K axis.
        segment_frames: samples of an item.
    """

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def segment_frames(self) -> int: ...

    def __len__(self) -> int:
        """Items of an epoch, over all ranks."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        """Return item `index` of `epoch`."""
        ...


@dataclass(frozen=True)
class Beginning:
    """The first epochs of a run, which hear some of the songs alone (a curriculum).

    Attributes:
        epochs: how many.
        songs: their names.
    """

    epochs: int
    songs: frozenset[str]


class SegmentDataset:
    """Excerpts of `segment_frames` samples; its keys are (epoch, index).

    Every second of music is as likely as any other: a song is drawn with a probability
    proportional to its duration, and the offset within it uniformly. The draws of songs are
    stratified: the songs laid end to end are cut into as many equal strata as the epoch has items
    and each stratum is used once, in a seeded order. So each epoch visits every song in proportion
    to its duration within one item, where independent draws would leave out many songs of a short
    epoch.

    A song shorter than the segment is taken whole, with zeros behind it.

    Neither worker nor rank nor what was read before has a say: an item is a function of
    (seed, epoch, index) and of the data.
    """

    def __init__(
        self,
        tracks: TrackSet,
        segment_frames: int,
        items_per_epoch: int,
        seed: int,
        normalise: Normalise = "none",
        loader_augment: LoaderAugment | None = None,
        fixed: bool = False,
        trust: Trust | None = None,
        beginning: Beginning | None = None,
        stand_ins: StandIns | None = None,
    ) -> None:
        """Make excerpts of a set's songs.

        Args:
            tracks: the songs.
            segment_frames: samples of an excerpt.
            items_per_epoch: excerpts of an epoch, over all ranks.
            seed: of the run.
            normalise: "file_mono_std" subtracts the whole mixture's mean from each stem and
                divides by its standard deviation, as the model's inference does to the mixture.
                (Demucs' own way: each stem is then what `Normalisation.undo` expects, and the sum
                of K stems is K - 1 means off what inference feeds; a recording has next to none.)
            loader_augment: applied in the worker, with a generator of the item's own; what it
                shortens is read in addition.
            fixed: every epoch has the crops of the first one, in another order.
            trust: of each song's stems; None: all are references.
            beginning: epochs that hear some of the songs alone.
            stand_ins: for stems that are not what their names say; None: all are.
        """
        if segment_frames < 1:
            raise ConfigError(f"segment: {segment_frames} samples are none; give more seconds")
        if items_per_epoch < 1:
            raise ConfigError(f"items per epoch: {items_per_epoch}; give at least 1")
        self.tracks = tracks
        self.segment_frames = segment_frames
        self.items_per_epoch = items_per_epoch
        self.seed = seed
        self.normalise: Normalise = normalise
        self.loader_augment = loader_augment
        self.fixed = fixed
        self.trust = trust
        self.beginning = beginning
        self.stand_ins = stand_ins
        self._read_frames = segment_frames + (loader_augment.extra_frames if loader_augment else 0)
        self._whole = EndToEnd.of(tracks.tracks)
        self._first = self._whole
        if beginning is not None:
            self._first = EndToEnd.of(tracks.tracks, lambda track: track.name in beginning.songs)
            assert len(self._first.indices), "no song of the set has one of these names"

    @property
    def stems(self) -> tuple[str, ...]:
        return self.tracks.stems

    def __len__(self) -> int:
        return self.items_per_epoch

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        """Return item `index` of `epoch`."""
        epoch, index = key
        if self.fixed:  # the first epoch's items, in an order of this epoch's own
            order = numpy_generator(self.seed, "crop_order", epoch).permutation(
                self.items_per_epoch
            )
            epoch, index = 0, int(order[index])
        track_index, start = self.locate(epoch, index)
        track = self.tracks.tracks[track_index]
        frames = min(self._read_frames, track.length)
        stems = track.read_stems(start, frames)  # [K, C, frames]
        stems = track.normalisation(self.normalise).apply(stems)
        stems = F.pad(stems, (0, self._read_frames - frames))
        if self.stand_ins is not None:
            generator = numpy_generator(self.seed, "stand_ins", epoch, index)
            stems = self.stand_ins(track, stems, self.normalise, generator)
        if self.loader_augment is not None:
            generator = numpy_generator(self.seed, "loader_augment", epoch, index)
            stems = self.loader_augment(stems, track.stems, generator)
        assert stems.shape[-1] == self.segment_frames
        trust = self.trust(track, start, frames) if self.trust else torch.ones(len(track.stems))
        return Segment(stems, track.stems, trust, crop=index if self.fixed else None)

    def locate(self, epoch: int, index: int) -> tuple[int, int]:
        """Return which song item `index` of `epoch` is of, and its first sample."""
        if not 0 <= index < self.items_per_epoch:
            raise IndexError(f"item {index} of an epoch of {self.items_per_epoch}")
        early = self.beginning is not None and epoch < self.beginning.epochs
        songs = self._first if early else self._whole
        generator = numpy_generator(self.seed, "segment", epoch, index)
        stratum = _strata(self.seed, epoch, self.items_per_epoch)[index]
        track_index = songs.at((stratum + generator.random()) / self.items_per_epoch)
        last_start = max(0, self.tracks.tracks[track_index].length - self._read_frames)
        return track_index, int(generator.integers(last_start, endpoint=True))


@functools.lru_cache(maxsize=4)
def _strata(seed: int, epoch: int, items: int) -> npt.NDArray[np.int64]:
    """Return the seeded order in which an epoch uses its strata."""
    return numpy_generator(seed, "segment_order", epoch).permutation(items)


def collate(items: Sequence[Segment]) -> Batch:
    """Join items to a batch; its mix is the sum of all stems and of what is in none."""
    stems = torch.stack([item.stems for item in items])  # [B, K, C, T]
    trust = torch.stack([item.trust for item in items])  # [B, K]
    mix, rest, crops = stems.sum(dim=1), None, None
    if any(item.rest is not None for item in items):
        silence = torch.zeros_like(mix[0])
        rest = torch.stack([silence if item.rest is None else item.rest for item in items])
        mix = mix + rest
    if all(item.crop is not None for item in items):
        crops = torch.tensor([item.crop for item in items])
    return Batch(mix, stems, items[0].names, trust, rest, crops)
