"""The demo set on disk: sizes, file layout, the manifest and the check that a set is whole."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import soundfile

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.files import file_sha256, write_json_atomic
from mss.data.synth.banks import SPLITS
from mss.data.synth.composer import COMPOSER_VERSION, compose
from mss.data.synth.midi import song_midi
from mss.data.synth.render import SOUNDFONT, render_song
from mss.data.synth.score import SAMPLERATE, STEMS, Song

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MIDI_FOLDER = "midi"
WAV_NAMES = ("mixture", *STEMS)

LICENCE_NOTE = (
    "The notes are written by Stemgrid's composer (MIT licence). The sounds come from the General "
    f"MIDI soundfont {SOUNDFONT} by Tim Brechbill, which MuseScore once shipped; packagers of "
    "it list it under the GNU General Public License, version 2 (Alpine Linux does). "
    "The pretty_midi package carries the file and names no licence for it: the MIT licence there "
    "is pretty_midi's own. Stemgrid contains neither the soundfont nor this audio, which is made "
    "on the user's machine."
)


@dataclass(frozen=True)
class DemoSize:
    """How many songs each split has, and how long (seconds) a song is at least."""

    train: int
    valid: int
    test: int
    seconds: float

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"DemoSize.{name} is {getattr(self, name)}; it must not be negative."
                )
        if self.songs == 0:
            raise ConfigError("DemoSize asks for 0 songs; give a split a positive number.")
        if not 2 <= self.seconds <= 600:
            raise ConfigError(f"DemoSize.seconds is {self.seconds}; it must lie in 2 to 600.")

    @property
    def songs(self) -> int:
        return self.train + self.valid + self.test

    @property
    def label(self) -> str:
        return f"{self.train}-{self.valid}-{self.test}x{self.seconds:g}s"

    def song_keys(self) -> Iterator[tuple[str, int]]:
        """Yield (split, index) of every song, in the manifest's order."""
        for split in SPLITS:
            for index in range(getattr(self, split)):
                yield split, index


DEMO_SIZES = {
    "demo": DemoSize(train=40, valid=4, test=8, seconds=20),
    "demo_large": DemoSize(train=64, valid=10, test=24, seconds=20),
    "tiny": DemoSize(train=2, valid=1, test=1, seconds=4),
}


def demo_size(size: DemoSize | str) -> DemoSize:
    """Return a size by its name; a DemoSize is returned as it is."""
    if isinstance(size, DemoSize):
        return size
    if size not in DEMO_SIZES:
        raise ConfigError(f"There is no demo size {size!r}.{nearest_name_hint(size, DEMO_SIZES)}")
    return DEMO_SIZES[size]


@dataclass(frozen=True)
class SongRecord:
    """One song's entry in the manifest. `sha256` is by file, relative to the set's folder."""

    name: str
    split: str
    index: int
    key: str
    tempo: int
    groove: str
    progressions: tuple[str, ...]
    pattern_seeds: dict[str, int]
    programs: dict[str, int]
    frames: int
    sha256: dict[str, str]


def write_song(root: Path, seed: int, split: str, index: int, seconds: float) -> SongRecord:
    """Compose, render and write one song: ROOT/SPLIT/NAME/*.wav and ROOT/midi/SPLIT/NAME.mid.

    ROOT/SPLIT and ROOT/midi/SPLIT must exist: a worker that outlived its parent must not bring a
    removed folder back.
    """
    song = compose(seed, split, index, seconds)
    waves = render_song(song)
    folder = root / split / song.name
    folder.mkdir()
    for name in WAV_NAMES:
        soundfile.write(folder / f"{name}.wav", waves[name], SAMPLERATE, subtype="PCM_16")
    midi = root / MIDI_FOLDER / split / f"{song.name}.mid"
    midi.write_bytes(song_midi(song))
    files = [*(folder / f"{name}.wav" for name in WAV_NAMES), midi]
    return _record(song, {file.relative_to(root).as_posix(): file_sha256(file) for file in files})


def _record(song: Song, sha256: dict[str, str]) -> SongRecord:
    return SongRecord(
        name=song.name,
        split=song.split,
        index=song.index,
        key=song.sheet.key.name,
        tempo=song.sheet.tempo,
        groove=song.groove,
        progressions=song.progressions,
        pattern_seeds=dict(song.pattern_seeds),
        programs={part.role: part.program for part in song.parts},
        frames=song.frames,
        sha256=sha256,
    )


def write_manifest(root: Path, size: DemoSize, seed: int, records: list[SongRecord]) -> None:
    """Write manifest.json; the songs stand in the order of splits and indices."""
    ordered = sorted(records, key=lambda record: (SPLITS.index(record.split), record.index))
    write_json_atomic(
        root / MANIFEST,
        {
            "composer_version": COMPOSER_VERSION,
            "seed": seed,
            "size": dataclasses.asdict(size),
            "samplerate": SAMPLERATE,
            "stems": list(STEMS),
            "made_with": {
                package: metadata.version(package)
                for package in ("midirenderer", "pretty_midi", "mido", "numpy", "soundfile")
            },
            "licence": LICENCE_NOTE,
            "songs": [dataclasses.asdict(record) for record in ordered],
        },
    )


def read_manifest(root: Path) -> dict[str, Any]:
    """Return the manifest of a set."""
    manifest: dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def is_whole(root: Path) -> bool:
    """Tell whether a set has its manifest and every file, the wavs in full length."""
    if not (root / MANIFEST).is_file():
        return False
    try:
        songs = read_manifest(root)["songs"]
        least = {
            root / file: _least_bytes(file, song["frames"])
            for song in songs
            for file in song["sha256"]
        }
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s: not a manifest of the demo set (%s).", root / MANIFEST, error)
        return False
    return all(file.is_file() and file.stat().st_size >= size for file, size in least.items())


def _least_bytes(file: str, frames: int) -> int:
    """Return how long a file is at least: the audio of a stereo 16-bit wav, 1 byte for others."""
    return frames * 2 * 2 if file.endswith(".wav") else 1
