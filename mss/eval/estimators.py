"""Who gives the estimates that are scored: a separator, a folder of separated stems, an oracle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mss.core.audio_io import audio_info, read_audio
from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256
from mss.core.targets import TargetMap
from mss.core.types import Separate, Track
from mss.data.scan import SPLITS, TrackFolder, find_tracks

_SLACK = 0.1
"""Seconds by which a stem may be longer or shorter than its song: lossy formats pad."""


@dataclass(frozen=True)
class Song:
    """A song as it is scored.

    Attributes:
        track: where it comes from.
        mixture: [C, T], the recorded one, else the sum of *all* stems.
        references: [S, C, T], the true sources in the order of the target map's.
    """

    track: Track
    mixture: Tensor
    references: Tensor


Estimator = Callable[[Song], Tensor]
"""Gives the estimates [S, C, T] of a song's sources."""


def read_song(track: Track, targets: TargetMap) -> Song:
    """Read a song's mixture and the sums of stems that are its sources."""
    references = torch.stack([_read_sum(track, stems) for stems in targets.stems])
    return Song(track, read_mixture(track), references)


def read_mixture(track: Track) -> Tensor:
    """Return the mixture [C, T] of a song: the recorded one, else the sum of *all* stems."""
    return track.read("mixture") if track.has_mixture else _read_sum(track, track.stems)


def _read_sum(track: Track, stems: Iterable[str]) -> Tensor:
    return torch.stack([track.read(stem) for stem in stems]).sum(dim=0)


def separated(separate: Separate) -> Estimator:
    """Return the estimator that separates each song's mixture."""
    return lambda song: separate(song.mixture)


class SeparatedStems:
    """Stems that lie in a folder: ``ROOT/[SPLIT/]SONG/SOURCE.wav`` (or .flac).

    That is how `stemgrid separate -o ROOT` and museval's own tools lay them out.

    Args:
        root: the folder.
        split: of the data set; its folder is looked into where there is one.
        tracks: the songs to be scored.
        sources: names of the sources that may be there.

    Attributes:
        sources: those of `sources` that are there.
        left_out: a sentence on those that are not; None where all are.

    Raises:
        DataError: a song has no folder, no source is there, or one is in some songs only.
    """

    def __init__(
        self, root: Path, split: str, tracks: Sequence[Track], sources: Sequence[str]
    ) -> None:
        self._folders = _song_folders(root, split)
        for track in tracks:
            if track.name not in self._folders:
                raise DataError(
                    f"{root}: holds no folder {track.name!r} with the stems of that song"
                    f" (WAV or FLAC); found {len(self._folders)} other folders"
                )
        found = [self._folders[track.name].files for track in tracks]
        self.sources = tuple(s for s in sources if any(s in files for files in found))
        if not self.sources:
            raise DataError(
                f"{root}: no song has a stem named {' or '.join(sources)}; rename the files, or say"
                " with targets=... or +targets.NAME=[STEM,...] which stems they are made of"
            )
        for track in tracks:
            self._paths(track)
        self.left_out = _left_out(sources, self.sources, found)

    def __call__(self, song: Song) -> Tensor:
        """Return the stems [S, C, T] of a song, cut or filled with silence to its length."""
        track = song.track
        stems = [self._read(path, track) for path in self._paths(track).values()]
        return torch.stack(stems)

    def content(self, tracks: Iterable[Track]) -> str:
        """Return a hash of the songs' stems."""
        digest = hashlib.sha256()
        for track in tracks:
            for source, path in self._paths(track).items():
                digest.update(f"{track.name}\0{source}\0{file_sha256(path)}\n".encode())
        return digest.hexdigest()

    def _paths(self, track: Track) -> Mapping[str, Path]:
        paths = self._folders[track.name].select(self.sources, "mixture")
        return {source: paths[source] for source in self.sources}

    @staticmethod
    def _read(path: Path, track: Track) -> Tensor:
        info = audio_info(path)
        if info.samplerate != track.samplerate:
            raise DataError(
                f"{path}: has {info.samplerate} Hz, the data set {track.samplerate}: convert it, or"
                f" score at dset.samplerate={info.samplerate}"
            )
        stem, _ = read_audio(path)
        if stem.shape[0] != track.channels:
            raise DataError(
                f"{path}: has {stem.shape[0]} channels, the data set {track.channels}: convert it,"
                f" or score with dset.channels={stem.shape[0]}"
            )
        excess = stem.shape[1] - track.length
        if abs(excess) > _SLACK * track.samplerate:
            raise DataError(
                f"{path}: has {stem.shape[1]} samples, the song {track.length}: is it another"
                " edit of the song?"
            )
        return torch.nn.functional.pad(stem, (0, -excess))  # a negative padding cuts


def _left_out(
    wanted: Sequence[str], there: Sequence[str], found: Sequence[Mapping[str, Path]]
) -> str | None:
    missing = [source for source in wanted if source not in there]
    if not missing:
        return None
    others = sorted({name for files in found for name in files} - {*there, "mixture"})
    unused = f"; there, but not asked for: {', '.join(others)}" if others else ""
    return f"not scored, since no song has such a file: {', '.join(missing)}{unused}"


def _song_folders(root: Path, split: str) -> dict[str, TrackFolder]:
    try:
        found = find_tracks(root)
    except DataError as error:
        # the finder speaks of data sets
        raise DataError(f"--estimates: {str(error).removeprefix('dset.root: ')}") from error
    by_split = any((root / name).is_dir() for name in SPLITS)
    if by_split and split not in found:
        raise ConfigError(f"--estimates: {root} has no folder {split!r}, the split that is scored")
    return {
        folder.name: folder
        for name, folders in found.items()
        for folder in folders
        if not by_split or name == split
    }
