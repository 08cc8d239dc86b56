"""Judging every stem of a data set by separators, song by song, taken up where it ended.

Every song's measurements are a file as soon as they are known. It holds a key of all that decides
them, so a song whose files, judge or disguise have changed is measured again, and no other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.data.folds import Folds
from mss.data.tracks import IndexedTrack
from mss.distill.disguise import PitchTempo
from mss.distill.stem_energies import StemEnergies, StemJudge, measure_stem

# Raise it when what is measured, or how, changes.
VERSION = 1


@dataclass(frozen=True)
class JudgeSource:
    """A judge that is not loaded yet.

    Attributes:
        name: of its model.
        trained_on: names of the songs that it was trained on, as far as it tells.
        load: gives it.
    """

    name: str
    trained_on: frozenset[str]
    load: Callable[[], StemJudge]


class Judges:
    """Who judges which song: one separator all of them, or each those of its fold.

    Args:
        sources: the judges.
        folds: judge i is for the songs of fold i, which it was not trained on. None: there is one
            judge, which may have been trained on any.

    Raises:
        ConfigError: their number is not that of the folds.
    """

    def __init__(self, sources: Sequence[JudgeSource], folds: Folds | None = None) -> None:
        if len(sources) != (folds.count if folds else 1):
            wanted = f"{folds.count} folds need as many" if folds else "without folds there is one"
            raise ConfigError(f"--folds: {len(sources)} models; {wanted}")
        self.sources = tuple(sources)
        self.folds = folds

    def index(self, song: str) -> int:
        """Return which judge a song has."""
        return self.folds.of(song) if self.folds else 0

    def check(self, songs: Collection[str]) -> None:
        """Make sure that with folds no model judges a song that it was trained on.

        Raises:
            ConfigError: one would.
        """
        for song in sorted(songs) if self.folds else ():
            judge = self.sources[self.index(song)]
            if song in judge.trained_on:
                raise ConfigError(
                    f"--folds: {judge.name} was trained on {song!r}, which is in fold"
                    f" {self.index(song)}; train it with dset.folds={len(self.sources)}"
                    f" dset.fold={self.index(song)}, name the models in the order of their folds,"
                    " and give the --fold-seed of their training"
                )


@dataclass(frozen=True)
class SongEnergies:
    """What was measured of a song.

    Attributes:
        judge: name of the model that did.
        stems: by name.
    """

    judge: str
    stems: dict[str, StemEnergies]


@dataclass(frozen=True)
class Measuring:
    """How songs are measured.

    Attributes:
        disguise: of the stems.
        window: seconds that are separated at once.
        silence_db: level (RMS, dB of full scale) below which a stem counts as silent.
    """

    disguise: PitchTempo = field(default_factory=PitchTempo)
    window: float = 60.0
    silence_db: float = -80.0

    def __post_init__(self) -> None:
        if not 1 <= self.window < math.inf:
            raise ConfigError(f"--window: {self.window} s; give 1 or more")


def measure_songs(
    tracks: Sequence[IndexedTrack],
    judges: Judges,
    measuring: Measuring,
    folder: Path,
    progress: bool = False,
) -> dict[str, SongEnergies]:
    """Judge every stem of every song; return the measurements by song, in the order of `tracks`.

    Args:
        tracks: the songs.
        judges: who judges them. A judge is loaded once, and dropped before the next.
        measuring: how.
        folder: where the measurements of each song are kept, and lie from an earlier start.
        progress: show a progress bar, where the standard error is a terminal.

    Raises:
        ConfigError: with folds, a judge was trained on a song of its own; or a stem is none of a
            judge's sources.
        DataError: a file can't be read or written.
    """
    judges.check([track.name for track in tracks])
    found: dict[str, SongEnergies] = {}
    with tqdm(total=len(tracks), desc="filter", disable=None if progress else True) as bar:
        for index, source in enumerate(judges.sources):
            own = [track for track in tracks if judges.index(track.name) == index]
            if not own:
                continue
            judge = source.load()
            judge.check_stems(own[0].stems)
            for name, energies in _measure(own, judge, measuring, folder):
                found[name] = energies
                bar.update()
    return {track.name: found[track.name] for track in tracks}


def _measure(
    tracks: Sequence[IndexedTrack], judge: StemJudge, measuring: Measuring, folder: Path
) -> Iterator[tuple[str, SongEnergies]]:
    for track in tracks:
        path = folder / f"{track.name}.json"
        key = _key(track, judge, measuring)
        known = _read(path, key)
        if known is None:
            stems = {
                stem: measure_stem(
                    judge,
                    measuring.disguise,
                    track,
                    stem,
                    measuring.window,
                    measuring.silence_db,
                )
                for stem in track.stems
            }
            known = SongEnergies(judge.name, stems)
            _write(path, key, known)
        yield track.name, known


def _key(track: IndexedTrack, judge: StemJudge, measuring: Measuring) -> str:
    contents = {stem: track.facts[stem].sha256 for stem in track.stems}
    parts: list[Any] = [VERSION, judge.digest, asdict(measuring), track.channels, contents]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(path: Path, key: str, energies: SongEnergies) -> None:
    try:
        write_json_atomic(path, {"key": key, **asdict(energies)})
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror}); check the disk") from error


def _read(path: Path, key: str) -> SongEnergies | None:
    """Return what is known of a song; None: nothing, or of other files, another judge or way."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        stems = {stem: StemEnergies(**values) for stem, values in content["stems"].items()}
        return SongEnergies(content["judge"], stems)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is damaged ({error!r}); remove it, and call again") from error
