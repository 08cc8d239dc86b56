"""Training items of recordings without labels, in which one stem is known to be silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.core.rng import numpy_generator
from mss.data.segments import Segment, SegmentDataset
from mss.data.tracks import TrackSet

_ATTEMPTS = 20
"""Labelled excerpts that are tried for one that is not silent."""


@dataclass(frozen=True)
class SilentSpan:
    """A part of a recording in which a stem is silent.

    Attributes:
        song: name of the recording.
        stem: the silent one.
        start: first sample.
        frames: samples.
    """

    song: str
    stem: str
    start: int
    frames: int


def joined(spans: Sequence[SilentSpan]) -> list[SilentSpan]:
    """Return spans of which those that touch or overlap are one, in order."""
    merged: list[SilentSpan] = []
    for span in sorted(spans, key=lambda s: (s.song, s.stem, s.start)):
        last = merged[-1] if merged else None
        if (
            last is not None
            and (last.song, last.stem) == (span.song, span.stem)
            and span.start <= last.start + last.frames
        ):
            end = max(last.start + last.frames, span.start + span.frames)
            merged[-1] = SilentSpan(last.song, last.stem, last.start, end - last.start)
        else:
            merged.append(span)
    return merged


class SilentStemSegments:
    """Recordings m in which stem i is silent, with a labelled stem s_i to lie on top of them.

    Of an item, stem i is s_i and trusted, every other stem is unknown, and `rest` is m. See
    mss.distill.silent_stem.

    Args:
        recordings: one stem each, the recording.
        spans: where which stem is silent.
        labelled: where the stems s_i are from; its segment length is that of the items.
        items_per_epoch: excerpts of an epoch, over all ranks.
        seed: of the run.

    Raises:
        DataError: no span is as long as a segment.
    """

    def __init__(
        self,
        recordings: TrackSet,
        spans: Sequence[SilentSpan],
        labelled: SegmentDataset,
        items_per_epoch: int,
        seed: int,
    ) -> None:
        self.labelled = labelled
        self.items_per_epoch = items_per_epoch
        self.seed = seed
        self._tracks: Mapping[str, int] = {t.name: i for i, t in enumerate(recordings.tracks)}
        self.recordings = recordings
        frames = labelled.segment_frames
        self.spans = [s for s in joined(spans) if s.frames >= frames and s.stem in labelled.stems]
        if not self.spans:
            longest = max((span.frames for span in joined(spans)), default=0)
            raise DataError(
                f"{recordings.name}: no part in which a stem is silent is as long as a segment "
                f"({frames / recordings.samplerate:.3g} s; the longest has "
                f"{longest / recordings.samplerate:.3g} s); shorten train.segment or add songs"
            )
        # every second of silence is as likely as any other
        room = np.array([span.frames - frames + 1 for span in self.spans], dtype=np.int64)
        self._ends = np.cumsum(room)

    @property
    def stems(self) -> tuple[str, ...]:
        return self.labelled.stems

    @property
    def segment_frames(self) -> int:
        return self.labelled.segment_frames

    def __len__(self) -> int:
        return self.items_per_epoch

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        epoch, index = key
        if not 0 <= index < self.items_per_epoch:
            raise IndexError(f"item {index} of an epoch of {self.items_per_epoch}")
        generator = numpy_generator(self.seed, "silent_stem", epoch, index)
        place = int(generator.integers(self._ends[-1]))
        number = int(np.searchsorted(self._ends, place, side="right"))
        span = self.spans[number]
        start = span.start + place - (int(self._ends[number - 1]) if number else 0)
        track = self.recordings.tracks[self._tracks[span.song]]
        recording = track.read_stems(start, self.segment_frames)[0]
        recording = track.normalisation(self.labelled.normalise).apply(recording)
        stem = self.stems.index(span.stem)
        stems = torch.zeros(len(self.stems), *recording.shape)
        trust = torch.zeros(len(self.stems))
        stems[stem], trust[stem] = self._labelled(stem, epoch, generator)
        return Segment(stems, self.stems, trust, rest=recording)

    def _labelled(
        self, stem: int, epoch: int, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return an excerpt [C, T] of a labelled stem, and how far it is trusted.

        One that sounds and is trusted, if that can be found.
        """
        for _ in range(_ATTEMPTS):
            found = self.labelled[epoch, int(generator.integers(len(self.labelled)))]
            if found.stems[stem].any() and found.trust[stem] > 0:
                break
        return found.stems[stem], found.trust[stem]
