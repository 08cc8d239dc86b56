"""`dset=folder`: a folder of one's own, any stem names, one folder a song.

    ROOT/train/NAME/{mixture,drums,bass,other,vocals}.wav     the shape of MUSDB18-HQ
    ROOT/valid/NAME/...                                       optional
    ROOT/test/NAME/...                                        optional

or ROOT/NAME/... where nothing is split: all songs train then. `mixture` is optional (the mix is the
sum of the stems); stems may be WAV or FLAC. Hidden files and whatever is not a song is passed over.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mss.core.errors import ConfigError, DataError
from mss.data.decoded import CacheKind, decode_tracks
from mss.data.index import TrackFiles, in_threads, index_files, mixture_statistics
from mss.data.scan import (
    SPLITS,
    Split,
    TrackFolder,
    check_stem_names,
    discover_stems,
    find_tracks,
)
from mss.data.splits import hold_out
from mss.data.tracks import MIXTURE, FileFacts, IndexedTrack, StemFiles, TrackSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderKeys:
    """What the user calls the values of a FolderDataset.Config, for messages.

    Attributes:
        root: the folder.
        stems: the names of the stems; where the user does not choose them, the folder.
        samplerate: the sample rate; None: the user does not choose it.
        cache: the decoded copies.
    """

    root: str = "dset.root"
    stems: str = "dset.stems"
    samplerate: str | None = "dset.samplerate"
    cache: str = "dset.cache"


class FolderDataset:
    """Songs in folders of WAV or FLAC files."""

    @dataclass(frozen=True)
    class Config:
        """Keys of `dset=folder`.

        Attributes:
            root: the folder. No part of a run's signature: the content identifies the data.
            stems: names of the stems, whose sum is the mixture; empty: those that all songs have.
                (To train fewer sources than there are stems, use `targets`.)
            mixture: name of the mixture's file, without ending.
            samplerate: Hz that every file must have; null: any, if all agree.
            channels: of what is read (mono files are repeated, others mixed down); null: those of
                the files, if all agree.
            valid_tracks: training songs to hold out where there is no valid/ folder, chosen by
                content; null: one in ten, at least one.
            cache: none, int16 or float32: keep decoded copies of the training and validation
                songs in the cache folder.
        """

        root: str | None = None
        stems: tuple[str, ...] = ()
        mixture: str = MIXTURE
        samplerate: int | None = 44100
        channels: int | None = 2
        valid_tracks: int | None = None
        cache: CacheKind = "none"

    def __init__(
        self,
        config: Config,
        name: str = "folder",
        valid_names: Collection[str] = (),
        keys: FolderKeys | None = None,
    ) -> None:
        """Take the keys.

        Args:
            config: the keys.
            name: of the data set.
            valid_names: training songs that validate by convention.
            keys: what the user calls them; None: keys of group `dset`.
        """
        self.config = config
        self.name = name
        self._keys = keys or FolderKeys()
        self._valid_names = frozenset(valid_names)

    def split(self, split: Split) -> TrackSet:
        """Return the songs of "train", "valid" or "test".

        Raises:
            ConfigError, DataError: what is wrong, in which file or key, and what to do.
        """
        if split not in SPLITS:
            raise ConfigError(f"split: there is no split {split!r}; there are {', '.join(SPLITS)}")
        return self._track_set(split, self._select(split))

    def every_song(self, split: Split = "train") -> TrackSet:
        """Return the songs in a split's folder, none of which is held out for validation.

        Raises:
            ConfigError, DataError: as `split`.
        """
        if split not in self._folders:
            raise DataError(
                f"{self._keys.root}: {self._root}: there is no {split}/ folder, nor songs in it"
            )
        return self._track_set(split, self._indexed(split))

    def _track_set(self, split: Split, tracks: Sequence[IndexedTrack]) -> TrackSet:
        if self.config.cache != "none" and split != "test":
            # Test songs are read once, from beginning to end: nothing is gained by a copy.
            tracks = decode_tracks(tracks, self.config.cache, self._keys.cache)
        first = tracks[0]
        found = TrackSet(
            self.name, split, tuple(tracks), self._stems, first.samplerate, first.channels
        )
        logger.info(
            "%s %s: %d tracks, %.1f minutes", self.name, split, len(found), found.seconds / 60
        )
        return found

    def has_split(self, split: Split) -> bool:
        """Whether `split` gives songs; "valid" does where there are training songs to hold out."""
        return split in self._folders or (split == "valid" and "train" in self._folders)

    def _select(self, split: Split) -> Sequence[IndexedTrack]:
        """Return the songs of a split, holding out some training songs where need be."""
        if split == "test":
            if "test" not in self._folders:
                raise DataError(
                    f"{self._keys.root}: {self._root}: there is no test/ folder. Put held-out songs"
                    " in test/NAME/, or score another data set"
                )
            return self._indexed("test")
        if "valid" in self._folders and split == "valid":
            return self._indexed("valid")
        if "train" not in self._folders:
            raise DataError(
                f"{self._keys.root}: {self._root}: there is no train/ folder; put training songs in"
                " train/NAME/"
            )
        tracks = self._indexed("train")
        if "valid" in self._folders:
            return tracks
        return [track for track in tracks if (track.name in self._held_out) == (split == "valid")]

    @functools.cached_property
    def _held_out(self) -> frozenset[str]:
        tracks = self._indexed("train")
        named = self._valid_names & {track.name for track in tracks}
        if not named or len(named) == len(tracks):
            contents = {
                track.name: [facts.sha256 for facts in track.facts.values()] for track in tracks
            }
            return hold_out(contents, self.config.valid_tracks)
        absent = self._valid_names - named
        if absent:
            logger.warning(
                "%s: %d of its %d validation tracks are not there, such as %r",
                self.name,
                len(absent),
                len(self._valid_names),
                min(absent),
            )
        return named

    @functools.cached_property
    def _root(self) -> Path:
        if not self.config.root:
            key = self._keys.root
            raise ConfigError(
                f"{key}: not set; say where {self.name} lies: {key}=PATH (a folder with"
                " train/NAME/STEM.wav)"
            )
        return Path(self.config.root).expanduser()

    @functools.cached_property
    def _folders(self) -> Mapping[Split, list[TrackFolder]]:
        return find_tracks(self._root, self._keys.root)

    @functools.cached_property
    def _stems(self) -> tuple[str, ...]:
        first = next(iter(self._folders.values()))
        if not self.config.stems:
            return discover_stems(first, self.config.mixture)
        check_stem_names(self.config.stems, first, self.config.mixture, self._keys.stems)
        return self.config.stems

    @functools.cached_property
    def _index(self) -> dict[Split, list[IndexedTrack]]:
        return {}

    def _indexed(self, folder: Split) -> list[IndexedTrack]:
        """Return every song in a split's folder."""
        if folder not in self._index:
            files = [
                TrackFiles(track.name, track.select(self._stems, self.config.mixture))
                for track in self._folders[folder]
            ]
            facts = index_files(files)
            self._check_formats(files, facts)
            pairs = list(zip(files, facts, strict=True))
            self._index[folder] = in_threads(self._track, pairs, "Reading mixtures")
        return self._index[folder]

    def _track(self, pair: tuple[TrackFiles, dict[str, FileFacts]]) -> IndexedTrack:
        track, facts = pair
        first = facts[self._stems[0]]
        channels = first.channels if self.config.channels is None else self.config.channels
        reader = StemFiles(track.files, facts, channels)
        return IndexedTrack(
            name=track.name,
            length=first.frames,
            samplerate=first.samplerate,
            channels=channels,
            stems=self._stems,
            has_mixture=MIXTURE in track.files,
            facts=facts,
            file_statistics=mixture_statistics(track.name, facts, self._stems, reader, channels),
            reader=reader,
        )

    def _check_formats(
        self, tracks: Sequence[TrackFiles], facts: Sequence[Mapping[str, FileFacts]]
    ) -> None:
        """Refuse files of other sample rates, channels or lengths than they should have."""
        first_stem = self._stems[0]
        rate = self.config.samplerate or facts[0][first_stem].samplerate
        for track, known in zip(tracks, facts, strict=True):
            length = known[first_stem].frames
            for stem, file in known.items():
                path = track.files[stem]
                if file.samplerate != rate:
                    raise DataError(self._wrong_samplerate(path, file.samplerate, rate))
                if self.config.channels is None and file.channels != facts[0][first_stem].channels:
                    raise DataError(
                        f"{path}: has {file.channels} channels, {tracks[0].files[first_stem]} has"
                        f" {facts[0][first_stem].channels}. Give dset.channels=2 to convert"
                    )
                if file.frames != length:
                    raise DataError(
                        f"{path}: has {file.frames} samples, {track.files[first_stem].name} of the"
                        f" same track has {length}. Cut or pad it to that length"
                        f" (`python -m tools.check_data {self._root}` lists every such file)"
                    )

    def _wrong_samplerate(self, path: Path, found: int, wanted: int) -> str:
        message = f"{path}: has {found} Hz, not {wanted} Hz. Convert it"
        message += f" (`ffmpeg -i OLD.wav -ar {wanted} NEW.wav`)"
        if self.config.samplerate is None:
            return f"{message}: all files of a set need one rate"
        if self._keys.samplerate is None:
            return message
        return f"{message}, or give {self._keys.samplerate}={found} if the whole set has it"
