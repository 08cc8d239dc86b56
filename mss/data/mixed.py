"""Two kinds of training items in one epoch: of labelled songs, and of others.

The kinds alternate by groups of consecutive items, so that augmentations which exchange stems
within a group (remix) meet one kind at a time.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch

from mss.core.errors import ConfigError
from mss.data.segments import Segment, SegmentDataset, Segments


class Shares:
    """Which groups of items are of the second kind: a fixed share, spread evenly.

    Group g is if floor((g + 1) share) > floor(g share): over any number of groups the count is off
    by less than one.

    Args:
        share: of the second kind, in (0, 1).
        group: items of a group.
    """

    def __init__(self, share: Fraction, group: int) -> None:
        assert 0 < share < 1 and group >= 1
        self.share = share
        self.group = group

    def second(self, index: int) -> bool:
        """Whether item `index` of an epoch is of the second kind."""
        return self._before(index // self.group + 1) > self._before(index // self.group)

    def place(self, index: int) -> int:
        """Return which item of its own kind item `index` is."""
        group, within = divmod(index, self.group)
        seconds = self._before(group)
        before = seconds if self.second(index) else group - seconds
        return before * self.group + within

    def counts(self, items: int) -> tuple[int, int]:
        """Return how many of the first `items` are of the first and of the second kind."""
        groups, within = divmod(items, self.group)
        seconds = self._before(groups) * self.group
        if within and self.second(items - 1):
            seconds += within
        return items - seconds, seconds

    def _before(self, groups: int) -> int:
        """Return how many of the first `groups` groups are of the second kind."""
        return int(self.share * groups)


class MixedSegments:
    """Items of two data sets with the same stems; see Segments.

    Args:
        first: labelled items, as many as `shares.counts(items)` says.
        second: the others.
        shares: which are which.
        items: of an epoch.
    """

    def __init__(self, first: Segments, second: Segments, shares: Shares, items: int) -> None:
        assert first.stems == second.stems and first.segment_frames == second.segment_frames
        assert (len(first), len(second)) == shares.counts(items)
        self.first = first
        self.second = second
        self.shares = shares
        self.items = items

    @property
    def stems(self) -> tuple[str, ...]:
        return self.first.stems

    @property
    def segment_frames(self) -> int:
        return self.first.segment_frames

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        epoch, index = key
        if not 0 <= index < self.items:
            raise IndexError(f"item {index} of an epoch of {self.items}")
        place = self.shares.place(index)
        chosen = self.second if self.shares.second(index) else self.first
        # crops of one kind alone come back: those of a mixed epoch are not known by a number
        return replace(chosen[epoch, place], crop=None)


class UnlabelledSegments:
    """Excerpts of recordings that have no stems: every stem is unknown, all is `rest`.

    Args:
        recordings: a data set with one stem, the recording.
        stems: names of the stems that labelled songs have.
    """

    def __init__(self, recordings: SegmentDataset, stems: tuple[str, ...]) -> None:
        assert len(recordings.stems) == 1
        self.recordings = recordings
        self._stems = stems

    @property
    def stems(self) -> tuple[str, ...]:
        return self._stems

    @property
    def segment_frames(self) -> int:
        return self.recordings.segment_frames

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, key: tuple[int, int]) -> Segment:
        recording = self.recordings[key].stems[0]  # [C, T]
        silence = torch.zeros(len(self._stems), *recording.shape)
        return Segment(silence, self._stems, torch.zeros(len(self._stems)), rest=recording)


def exact_share(share: float, key: str) -> Fraction:
    """Return a share as the fraction that its decimal text says.

    Raises:
        ConfigError: it is not in (0, 1).
    """
    if not 0 < share < 1:
        raise ConfigError(f"{key}: {share} is not between 0 and 1")
    return Fraction(str(share))
