"""Finding the songs in a folder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mss.core.errors import ConfigError, DataError, nearest_name_hint

logger = logging.getLogger(__name__)

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
AUDIO_SUFFIXES = (".wav", ".flac")

# MUSDB's own stems in the order of the published systems; any others follow by name.
_USUAL_ORDER = ("drums", "bass", "other", "vocals")

_LAYOUT = "one folder a song: ROOT/train/NAME/{mixture,drums,bass,other,vocals}.wav (or .flac)"


@dataclass(frozen=True)
class TrackFolder:
    """One song's folder.

    Attributes:
        path: the folder.
        files: the audio files in it, by their names without ending.
        duplicates: files whose name is taken by one of `files` with another ending.
    """

    path: Path
    files: Mapping[str, Path]
    duplicates: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    def select(self, stems: Sequence[str], mixture: str) -> dict[str, Path]:
        """Return the files of `stems`, and of the mixture under "mixture" where there is one.

        Raises:
            DataError: a stem has no file, or two.
        """
        for stem in stems:
            if stem not in self.files:
                raise DataError(self.missing(stem))
        for path in self.duplicates:
            if path.stem in (*stems, mixture):
                raise DataError(self.ambiguous(path))
        chosen = {stem: self.files[stem] for stem in stems}
        if mixture in self.files:
            chosen["mixture"] = self.files[mixture]
        return chosen

    def ambiguous(self, duplicate: Path) -> str:
        """Say that two files hold the same stem."""
        return f"{duplicate}: {self.files[duplicate.stem].name} is the same stem; remove one"

    def missing(self, stem: str) -> str:
        """Say that a stem has no file, and what is there instead."""
        message = f"track {self.name!r}: the stem {stem!r} is missing: no {self.path / stem}.wav"
        message += " (or .flac)"
        others = sorted(
            path.name
            for path in self.path.iterdir()
            if path.stem == stem and path.suffix.lower() not in AUDIO_SUFFIXES
        )
        if others:
            return f"{message}; convert {others[0]} to WAV or FLAC"
        return f"{message}. Add it (silence if it does not play), or move the track out"


def find_tracks(root: Path, key: str = "dset.root") -> dict[Split, list[TrackFolder]]:
    """Return the songs of every split folder in `root`, sorted by name.

    A root without split folders is one of songs to train on.

    Args:
        root: the folder.
        key: that names it, for messages.

    Raises:
        DataError: no such folder, or no song in it or in one of its split folders.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "there is no such folder"
        raise DataError(f"{key}: {root}: {what}. Expected is {_LAYOUT}")
    found: dict[Split, list[TrackFolder]] = {}
    for split in SPLITS:
        if (root / split).is_dir():
            found[split] = _track_folders(root / split)
            if not found[split]:
                raise DataError(_no_tracks(root / split, key))
    if found:
        for entry in _entries(root):
            if entry.name not in SPLITS:
                logger.debug("%s: passed over, not a split (%s)", entry, ", ".join(SPLITS))
        return found
    flat = _track_folders(root)
    if not flat:
        raise DataError(_no_tracks(root, key))
    return {"train": flat}


def discover_stems(tracks: Sequence[TrackFolder], mixture: str) -> tuple[str, ...]:
    """Return the stems that all songs have, in MUSDB's order, then by name.

    Raises:
        DataError: the songs differ in their stems; the odd ones are named.
    """
    counts = count_stems(tracks, mixture)
    stems = sort_stems(counts)
    for stem in stems:
        if counts[stem] == len(tracks):
            continue
        if is_usual(counts[stem], len(tracks)):
            raise DataError(next(t.missing(stem) for t in tracks if stem not in t.files))
        raise DataError(odd_stem(stem, tracks))
    return stems


def count_stems(tracks: Sequence[TrackFolder], mixture: str) -> Counter[str]:
    """Return how many songs have each stem.

    Raises:
        DataError: no song has one.
    """
    counts = Counter(stem for track in tracks for stem in track.files if stem != mixture)
    if not counts:
        raise DataError(
            f"{tracks[0].path}: holds no stem beside the mixture; expected is {_LAYOUT}"
        )
    return counts


def sort_stems(stems: Iterable[str]) -> tuple[str, ...]:
    """Return stems in MUSDB's order, then by name."""
    order = {stem: position for position, stem in enumerate(_USUAL_ORDER)}
    return tuple(sorted(stems, key=lambda stem: (order.get(stem, len(order)), stem)))


def is_usual(count: int, tracks: int) -> bool:
    """Whether a stem that `count` of the songs have is missing in the rest, not odd in these."""
    return 2 * count > tracks


def odd_stem(stem: str, tracks: Sequence[TrackFolder]) -> str:
    """Say that few songs have a stem."""
    having = [track for track in tracks if stem in track.files]
    without = next(track for track in tracks if stem not in track.files)
    return (
        f"{having[0].files[stem]}: only {len(having)} of {len(tracks)} tracks have a stem {stem!r}"
        f" (track {without.name!r} has none). Remove it, add it to the others, or name the stems"
        " to use: dset.stems=[...]"
    )


def check_stem_names(
    stems: Sequence[str], tracks: Sequence[TrackFolder], mixture: str, key: str = "dset.stems"
) -> None:
    """Refuse names of stems that can't be meant.

    Args:
        stems: the names.
        tracks: the songs.
        mixture: name of the mixture's file.
        key: that gives the names, for messages.

    Raises:
        ConfigError: a name twice, the mixture, or a name that no song knows.
    """
    if mixture in stems:
        raise ConfigError(f"{key}: {mixture!r} is the mixture, not one of its stems")
    if len(set(stems)) != len(stems):
        raise ConfigError(f"{key}: a name stands twice in {list(stems)}")
    known = {stem for track in tracks for stem in track.files} - {mixture}
    for stem in stems:
        if stem not in known:
            hint = nearest_name_hint(stem, known)
            raise ConfigError(f"{key}: no track has a stem {stem!r}.{hint}")


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, but for hidden files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _track_folders(parent: Path) -> list[TrackFolder]:
    found = []
    for entry in _entries(parent):
        track = _track_folder(entry) if entry.is_dir() else None
        if track is not None and track.files:
            found.append(track)
        else:
            logger.debug("%s: passed over, not a folder with WAV or FLAC files", entry)
    return found


def _track_folder(folder: Path) -> TrackFolder:
    files: dict[str, Path] = {}
    duplicates = []
    for entry in _entries(folder):
        if entry.suffix.lower() not in AUDIO_SUFFIXES or not entry.is_file():
            logger.debug("%s: passed over, not a WAV or FLAC file", entry)
        elif entry.stem in files:
            duplicates.append(entry)
        else:
            files[entry.stem] = entry
    return TrackFolder(folder, files, tuple(duplicates))


def _no_tracks(folder: Path, key: str) -> str:
    message = f"{key}: 0 tracks in {folder}: expected is {_LAYOUT}"
    entries = _entries(folder)
    audio = [path for path in entries if path.suffix.lower() in AUDIO_SUFFIXES]
    if audio:
        return f"{message}. {audio[0].name} lies directly in it: give each song a folder"
    for entry in entries:
        if entry.is_dir() and any((entry / split).is_dir() for split in SPLITS):
            return f"{message}. Is {entry} meant?"
        if entry.name.endswith(".stem.mp4"):
            return f"{message}. {entry.name} is of MUSDB18's format: dset=musdb18"
    return message
