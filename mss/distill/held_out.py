"""No song that a distillation adds may be one that the model is chosen or judged by."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mss.core.errors import DataError
from mss.core.normalise import Normalisation
from mss.data.scan import Split
from mss.data.tracks import MIXTURE, IndexedTrack, TrackSet

logger = logging.getLogger(__name__)

TRAIN: Split = "train"
HELD_OUT: tuple[Split, ...] = ("valid", "test")

ROUNDING = 1e-5
"""Relative to a mixture's deviation. Stems of 16 bits that add up to it are 1e-7 off."""


class Splits(Protocol):
    """A data set."""

    def has_split(self, split: Split) -> bool: ...

    def split(self, split: Split) -> TrackSet: ...


@dataclass(frozen=True)
class _Found:
    """Where a content was met: in a song's stem, or its mixture."""

    tracks: TrackSet
    track: IndexedTrack
    stem: str

    @property
    def sounds(self) -> bool:
        """Whether it is no digital silence, all of which is alike."""
        return bool(self.track.read(self.stem).any())


def check_added(
    added: Sequence[TrackSet],
    origins: Mapping[str, str],
    sets: Sequence[TrackSet],
    dataset: Splits,
) -> None:
    """Make sure that added songs are none of the data set's validation and test songs.

    Two songs are one if a file of theirs has the same content, or their mixtures the same samples
    but for rounding (length, mean and deviation): so estimates that add up to a recording are
    known, and other lossless encodings of it.

    Added songs that are training songs leave every score what it is, so they are only told of: what
    a run gains from hearing them without their stems is a fair question.

    Args:
        added: the songs.
        origins: of added songs whose stems were made from a recording, the hash of its file.
        sets: of the data set, those that the run has read already.
        dataset: gives the others.

    Raises:
        DataError: a song is one of those; both are named.
    """
    if not added:
        return
    known = {tracks.split: tracks for tracks in sets}
    for split in HELD_OUT:
        if split not in known and dataset.has_split(split):
            known[split] = dataset.split(split)
    held_out = _contents(known[split] for split in HELD_OUT if split in known)
    learned = _contents([known[TRAIN]] if TRAIN in known else [])
    for tracks in added:
        for track in tracks.tracks:
            same = _same(track, origins, held_out)
            if same is not None:
                raise DataError(
                    f"distill.root: {track.name!r} of {tracks.name} is {same.track.name!r} of the "
                    f"{same.tracks.split} split of {same.tracks.name}; a model that learned from a "
                    "song can't be judged by it: move it out of the added songs"
                )
        doubled = [track.name for track in tracks.tracks if _same(track, origins, learned)]
        if doubled:
            logger.warning(
                "%d of the %d songs of %s are training songs too, such as %r",
                len(doubled),
                len(tracks),
                tracks.name,
                doubled[0],
            )


def _contents(sets: Iterable[TrackSet]) -> dict[object, list[_Found]]:
    """Return where each content is met."""
    found: dict[object, list[_Found]] = {}
    for tracks in sets:
        for track in tracks.tracks:
            for stem, content in _identities(track):
                found.setdefault(content, []).append(_Found(tracks, track, stem))
    return found


def _identities(track: IndexedTrack) -> Iterator[tuple[str, object]]:
    """Yield what a song's contents are found by, with the stem that each is of."""
    for stem, facts in track.facts.items():
        yield stem, facts.sha256
    if track.file_statistics != Normalisation():  # that of silence
        yield MIXTURE, track.length


def _alike(one: IndexedTrack, other: IndexedTrack) -> bool:
    """Whether two mixtures of one length are the same but for the rounding of files and sums."""
    ours, theirs = one.file_statistics, other.file_statistics
    return math.isclose(ours.std, theirs.std, rel_tol=ROUNDING) and math.isclose(
        ours.mean, theirs.mean, rel_tol=0, abs_tol=ROUNDING * ours.std
    )


def _same(
    track: IndexedTrack, origins: Mapping[str, str], contents: Mapping[object, list[_Found]]
) -> _Found | None:
    """Return a song of `contents` that an added one is, None: there is none."""
    identities = [content for _, content in _identities(track)]
    for content in (*identities, origins.get(track.name)):
        for found in contents.get(content, ()):
            by_file = isinstance(content, str)
            if found.sounds and (by_file or _alike(track, found.track)):
                return found
    return None
