"""Songs of a data set: what the index knows of them, and partial reads.

A track's audio comes from one file a stem (`StemFiles`) or from a decoded, memory-mapped copy
(mss.data.decoded); both are a `StemReader`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mss.core.audio import convert_channels
from mss.core.audio_io import AudioInfo, AudioReader
from mss.core.normalise import Normalisation
from mss.core.types import Normalise

MIXTURE = "mixture"


class StemReader(Protocol):
    """Where a track's audio comes from. Readers travel to worker processes, so they are small."""

    def read(self, name: str, start: int, frames: int) -> Tensor:
        """Return [C, frames] float32 of a stem (or of the mixture, where there is one)."""
        ...

    def read_stems(self, names: tuple[str, ...], start: int, frames: int) -> Tensor:
        """Return [K, C, frames] float32."""
        ...


@dataclass(frozen=True)
class FileFacts:
    """What the index knows of one file.

    Attributes:
        sha256: of the file's content, in hex.
        size: bytes.
        frames: samples a channel, exactly.
        samplerate: Hz.
        channels: in the file.
        format: container and encoding, such as "WAV PCM_16".
    """

    sha256: str
    size: int
    frames: int
    samplerate: int
    channels: int
    format: str


@dataclass(frozen=True)
class StemFiles:
    """One audio file a stem.

    Attributes:
        paths: the file of each stem, and of "mixture" where there is one.
        facts: what is known of each.
        channels: channels to give; a file with another number is converted.
    """

    paths: Mapping[str, Path]
    facts: Mapping[str, FileFacts]
    channels: int

    def read(self, name: str, start: int, frames: int) -> Tensor:
        return convert_channels(self._excerpt(name, start, frames), self.channels)

    def read_stems(self, names: tuple[str, ...], start: int, frames: int) -> Tensor:
        return torch.stack([self.read(name, start, frames) for name in names])

    def _excerpt(self, name: str, start: int, frames: int) -> Tensor:
        """Return [C, frames] of one file; what the index knows spares reading its header again."""
        facts = self.facts[name]
        info = AudioInfo(
            path=self.paths[name],
            samplerate=facts.samplerate,
            channels=facts.channels,
            frames=facts.frames,
            exact=True,
            format=facts.format,
            decoder="soundfile",
        )
        with AudioReader(info) as reader:
            blocks = list(reader.excerpt(start, frames))
        return torch.cat(blocks, dim=-1) if blocks else torch.zeros(facts.channels, 0)


@dataclass(frozen=True)
class IndexedTrack:
    """One song; a `mss.core.types.Track`.

    Attributes:
        name: the folder's (or file's) name.
        length: samples.
        samplerate: Hz.
        channels: of what `read` gives.
        stems: names of the stems.
        has_mixture: whether the mixture is recorded; it is the sum of the stems otherwise.
        facts: what is known of the files, by stem and "mixture".
        file_statistics: mean and standard deviation of the whole mono mixture, as the map they
            make.
        reader: gives the audio.
    """

    name: str
    length: int
    samplerate: int
    channels: int
    stems: tuple[str, ...]
    has_mixture: bool
    facts: Mapping[str, FileFacts]
    file_statistics: Normalisation
    reader: StemReader = field(repr=False, compare=False)

    def read(self, stem: str, start: int = 0, frames: int | None = None) -> Tensor:
        """Return [C, frames] float32 from sample `start` (to the end where frames is None).

        "mixture" is the recorded mixture where there is one, else the sum of the stems.

        Raises:
            DataError: the file can't be read.
            ValueError: a stem or a span that the track does not have.
        """
        frames = self._span(start, frames)
        if stem == MIXTURE and not self.has_mixture:
            return self.reader.read_stems(self.stems, start, frames).sum(dim=0)
        if stem != MIXTURE and stem not in self.stems:
            raise ValueError(f"{self.name}: no stem {stem!r}; it has {', '.join(self.stems)}")
        return self.reader.read(stem, start, frames)

    def read_stems(self, start: int = 0, frames: int | None = None) -> Tensor:
        """Return every stem [K, C, frames] float32, in the order of `stems`."""
        return self.reader.read_stems(self.stems, start, self._span(start, frames))

    def _span(self, start: int, frames: int | None) -> int:
        frames = self.length - start if frames is None else frames
        if start < 0 or frames < 0 or start + frames > self.length:
            raise ValueError(
                f"{self.name}: samples {start} to {start + frames} are not within its {self.length}"
            )
        return frames

    def normalisation(self, kind: Normalise) -> Normalisation:
        """Return the normalisation of this recording that a model's contract asks for."""
        return Normalisation() if kind == "none" else self.file_statistics


@dataclass(frozen=True)
class TrackSet:
    """The songs of one split.

    Attributes:
        name: of the data set.
        split: "train", "valid" or "test".
        tracks: in the order of their names.
        stems: in the order of the K axis.
        samplerate: Hz.
        channels: audio channels.
    """

    name: str
    split: str
    tracks: tuple[IndexedTrack, ...]
    stems: tuple[str, ...]
    samplerate: int
    channels: int

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def seconds(self) -> float:
        """Duration of all tracks."""
        return sum(track.length for track in self.tracks) / self.samplerate

    @property
    def fingerprint(self) -> str:
        """Content hash: equal for copies of a folder, other if a byte, a name or the split is."""
        digest = hashlib.sha256()
        for track in sorted(self.tracks, key=lambda track: track.name):
            for stem in sorted(track.facts):
                line = "\0".join((self.split, track.name, stem, track.facts[stem].sha256))
                digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def manifest(self) -> dict[str, Any]:
        """Return what identifies the data, as plain values for a run's provenance."""
        return {
            "name": self.name,
            "split": self.split,
            "fingerprint": self.fingerprint,
            "seconds": round(self.seconds, 3),
            "tracks": {
                track.name: {
                    stem: {"sha256": facts.sha256, "bytes": facts.size}
                    for stem, facts in sorted(track.facts.items())
                }
                for track in self.tracks
            },
        }
