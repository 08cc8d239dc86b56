"""Random excerpts of songs for training, decided by (seed, epoch, index) alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.rng import numpy_generator
from mss.core.types import Batch, Normalise
from mss.data.tracks import TrackSet

LoaderAugment = Callable[[Tensor, np.random.Generator], Tensor]
"""(stems [K, C, T], generator) -> [K, C, T'], in a loader's worker."""


@dataclass(frozen=True)
class Segment:
    """One training item.

    Attributes:
        stems: [K, C, T] float32.
        names: of the K stems.
        labelled: [K] bool; False where a stem is unknown rather than silent.
    """

    stems: Tensor
    names: tuple[str, ...]
    labelled: Tensor


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
            loader_augment: applied in the worker, with a generator of the item's own.
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
        # Songs end to end: song i spans [ends[i - 1], ends[i]) samples.
        self._ends = np.cumsum([track.length for track in tracks.tracks], dtype=np.int64)

    def __len__(self) -> int:
        return self.items_per_epoch

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        """Return item `index` of `epoch`."""
        epoch, index = key
        track_index, start = self.locate(epoch, index)
        track = self.tracks.tracks[track_index]
        frames = min(self.segment_frames, track.length)
        stems = track.read_stems(start, frames)  # [K, C, frames]
        stems = track.normalisation(self.normalise).apply(stems)
        stems = F.pad(stems, (0, self.segment_frames - frames))
        if self.loader_augment is not None:
            generator = numpy_generator(self.seed, "loader_augment", epoch, index)
            stems = self.loader_augment(stems, generator)
        return Segment(stems, track.stems, torch.ones(len(track.stems), dtype=torch.bool))

    def locate(self, epoch: int, index: int) -> tuple[int, int]:
        """Return which song item `index` of `epoch` is of, and its first sample."""
        if not 0 <= index < self.items_per_epoch:
            raise IndexError(f"item {index} of an epoch of {self.items_per_epoch}")
        generator = numpy_generator(self.seed, "segment", epoch, index)
        stratum = _strata(self.seed, epoch, self.items_per_epoch)[index]
        position = (stratum + generator.random()) / self.items_per_epoch * self._ends[-1]
        track_index = int(np.searchsorted(self._ends, position, side="right"))
        # rounding may take the last position to the very end
        track_index = min(track_index, len(self._ends) - 1)
        last_start = max(0, self.tracks.tracks[track_index].length - self.segment_frames)
        return track_index, int(generator.integers(last_start, endpoint=True))


@functools.lru_cache(maxsize=4)
def _strata(seed: int, epoch: int, items: int) -> npt.NDArray[np.int64]:
    """Return the seeded order in which an epoch uses its strata."""
    return numpy_generator(seed, "segment_order", epoch).permutation(items)


def collate(items: Sequence[Segment]) -> Batch:
    """Join items to a batch; its mix is the sum of all stems."""
    stems = torch.stack([item.stems for item in items])  # [B, K, C, T]
    labelled = torch.stack([item.labelled for item in items])
    return Batch(mix=stems.sum(dim=1), stems=stems, names=items[0].names, labelled=labelled)
