"""`dset=labelnoise`: a folder of songs whose labels are not all right, and what is known of them.

The songs lie as those of `dset=folder`; a manifest (mss.data.noise_manifest) tells which of the
training songs are clean. Who else is trained on, and what with:

- without a manifest: all songs, as if they were clean (what noise costs);
- with a manifest: the clean songs alone;
- with `per_stem`, too, the other songs' stems that the notes do not name; in place of those that
  they do, the same sources of other songs are heard (mss.data.stand_ins).

A fold of the songs can be left out, so that the model can judge them (tools.filter_noise).
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError
from mss.data.folder import FolderDataset
from mss.data.folds import Folds
from mss.data.noise_manifest import NoiseManifest, read_manifest
from mss.data.scan import Split
from mss.data.splits import hold_out
from mss.data.stand_ins import StandIns
from mss.data.tracks import IndexedTrack, TrackSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelNoiseConfig(FolderDataset.Config):
    """Keys of `dset=labelnoise`.

    Attributes:
        manifest: a CSV file of the columns ID, Clean, Notes; null: every song counts as clean. No
            part of a run's signature: what it chooses identifies the data.
        per_stem: learn from the stems that the notes on a song do not name, too; the others make
            room for stems of songs that are right about that source.
        folds: number of folds; 0: none, all songs train.
        fold: which one is left out of the training.
        fold_seed: of the division into folds.
    """

    manifest: str | None = None
    per_stem: bool = False
    folds: int = 0
    fold: int = 0
    fold_seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"dset.folds: {self.folds}; give 2 or more, or 0 for none")
        if not 0 <= self.fold < max(1, self.folds):
            raise ConfigError(f"dset.fold: {self.fold} is none of {self.folds} folds, from 0 on")
        if self.per_stem and self.manifest is None:
            raise ConfigError("dset.per_stem: no notes name a stem; give dset.manifest")


class LabelNoiseDataset(FolderDataset):
    """Songs in folders, of which a manifest says whose labels are right.

    Where there is no valid/ folder, validation songs are held out among the clean ones, before the
    folds: every fold validates on the same songs.
    """

    Config = LabelNoiseConfig
    config: LabelNoiseConfig

    def __init__(self, config: LabelNoiseConfig, name: str = "labelnoise") -> None:
        """Args: the keys; the data set's name."""
        super().__init__(config, name)

    def split(self, split: Split) -> TrackSet:
        """Return the songs of "train", "valid" or "test".

        Raises:
            ConfigError, DataError: as `FolderDataset.split`; the manifest is not of these songs, or
                leaves none to train on.
        """
        found = super().split(split)
        if split != "train" or not (wrong := self._wrong(found.tracks)):
            return found
        fields = (found.name, found.split, found.tracks, found.stems)
        return PartlyLabelled(*fields, found.samplerate, found.channels, wrong)

    def stand_ins(self, tracks: TrackSet) -> StandIns | None:
        """Return what stands in for the wrong stems of training songs; None: there are none.

        Raises:
            DataError: of a stem there is no right one.
        """
        wrong = self._wrong(tracks.tracks)
        return StandIns(tracks.tracks, wrong) if wrong else None

    def _wrong(self, tracks: Iterable[IndexedTrack]) -> dict[str, frozenset[str]]:
        """Return the stems that are not to be trusted, of the songs that have any."""
        noisy = {track.name: self._noisy(track.name) for track in tracks}
        return {name: stems for name, stems in noisy.items() if stems}

    def _select(self, split: Split) -> Sequence[IndexedTrack]:
        tracks = super()._select(split)
        if split != "train":
            return tracks
        chosen = [track for track in tracks if self._learned(track.name)]
        if len(chosen) < len(tracks):
            logger.info("%s: %d of %d training songs train", self.name, len(chosen), len(tracks))
        if not chosen:
            raise DataError(
                f"{self.config.manifest or self._root}: leaves none of {len(tracks)} training songs"
                " to learn from (dset.manifest, dset.folds)"
            )
        return chosen

    def _learned(self, name: str) -> bool:
        """Whether a song trains: something of it is known, and its fold is not left out."""
        config = self.config
        if config.folds and Folds(config.folds, config.fold_seed).of(name) == config.fold:
            return False
        noisy = self._noisy(name)
        return len(noisy) < len(self._stems) if config.per_stem else not noisy

    def _noisy(self, name: str) -> frozenset[str]:
        """Return the stems of a song that are not to be trusted."""
        manifest = self._manifest
        if manifest is None:
            return frozenset()
        if self.config.per_stem:
            return manifest.noisy_stems(name, self._stems)
        return frozenset() if manifest.songs[name].clean else frozenset(self._stems)

    @functools.cached_property
    def _manifest(self) -> NoiseManifest | None:
        if self.config.manifest is None:
            return None
        manifest = read_manifest(Path(self.config.manifest).expanduser())
        manifest.check_songs({folder.name for folder in self._folders.get("train", ())})
        return manifest

    @functools.cached_property
    def _held_out(self) -> frozenset[str]:
        contents = {
            track.name: [facts.sha256 for facts in track.facts.values()]
            for track in self._indexed("train")
            if self._manifest is None or self._manifest.songs[track.name].clean
        }
        return hold_out(contents, self.config.valid_tracks)


@dataclass(frozen=True)
class PartlyLabelled(TrackSet):
    """Songs with stems that are not what their names say.

    Attributes:
        unlabelled: those stems, by song; songs whose labels are right are not named.
    """

    unlabelled: Mapping[str, frozenset[str]]

    @property
    def fingerprint(self) -> str:
        """Content hash, of what is trusted too."""
        digest = hashlib.sha256(super().fingerprint.encode())
        for name in sorted(self.unlabelled):
            digest.update("\0".join((name, *sorted(self.unlabelled[name]))).encode() + b"\n")
        return digest.hexdigest()

    def manifest(self) -> dict[str, Any]:
        """Return what identifies the data, with the stems that are not learned from."""
        stems = {name: sorted(found) for name, found in sorted(self.unlabelled.items())}
        return super().manifest() | {"unlabelled": stems}
