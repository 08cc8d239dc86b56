"""The index: content hashes, headers and mixture statistics of a data set's files.

It lives in the cache folder, never in the user's data, in two tables of small JSON files:

- ``index/seen/``: what the files of a track are, by (inode, size, times) of the files. A hit spares
  reading them again; it is a shortcut only, so a miss costs time and nothing else.
- ``index/statistics/``: mean and standard deviation of a mixture, by the content of its files.

Paths are no part of either key: two copies of a folder share their statistics, and other content
under a known path is seen. A damaged entry is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from mss.core.audio_io import audio_info, read_audio
from mss.core.cache import cache_root
from mss.core.errors import DataError
from mss.core.files import file_sha256, write_json_atomic
from mss.core.normalise import MonoStatistics, Normalisation
from mss.data.tracks import MIXTURE, FileFacts, StemReader

logger = logging.getLogger(__name__)

# Raise it when what is stored, or how it is computed, changes.
INDEX_VERSION = 1

# A file changed twice within one tick of the clock looks unchanged the second time. So what was
# written this recently (seconds) is not remembered; it is read again next time ("racy git").
RECENT_SECONDS = 2.0

# The blocks of core.normalise.file_normalisation: the same sums in the same order.
_STATISTICS_BLOCK = 1 << 20

_MAX_THREADS = 8
_PROGRESS_AFTER_SECONDS = 2.0

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class TrackFiles:
    """The files of one song: by stem, and under "mixture" where there is one."""

    name: str
    files: Mapping[str, Path]


def index_files(
    tracks: Sequence[TrackFiles], facts_of: Callable[[Path], FileFacts] | None = None
) -> list[dict[str, FileFacts]]:
    """Return the facts of every file of every track, reading only what is not known yet.

    Args:
        tracks: the files.
        facts_of: reads one file; default `file_facts`.

    Raises:
        DataError: a file that can't be read, or is truncated.
    """
    read = facts_of or file_facts
    return in_threads(lambda track: _track_facts(track, read), tracks, "Indexing")


def in_threads(
    work: Callable[[_Item], _Result], items: Sequence[_Item], label: str
) -> list[_Result]:
    """Return [work(item) ...] in order, by threads (hashing and decoding release Python's lock).

    The first error ends the work; a progress bar appears when it takes long.
    """
    threads = min(_MAX_THREADS, os.cpu_count() or 1, max(1, len(items)))
    pool = ThreadPoolExecutor(threads)
    try:
        results = pool.map(work, items)
        bar = tqdm(
            results,
            label,
            len(items),
            leave=False,
            delay=_PROGRESS_AFTER_SECONDS,
            disable=None,  # off where the standard error is no terminal
        )
        return list(bar)
    finally:
        pool.shutdown(cancel_futures=True)


def file_facts(path: Path) -> FileFacts:
    """Read a file's header, its last sample and, for the hash, all of its bytes.

    Raises:
        DataError: it can't be read, is truncated, holds no samples or does not tell how many.
    """
    info = audio_info(path)
    if info.decoder != "soundfile" or not info.exact or info.frames is None:
        raise DataError(
            f"{path}: does not say how long it is, as a recording to a pipe; write it again:"
            " `ffmpeg -i OLD.wav NEW.wav`"
        )
    if info.frames == 0:
        raise DataError(f"{path}: holds no samples; copy it again or move the track out")
    # A FLAC that ends too early has a whole header but can't find its last sample.
    read_audio(path, info.frames - 1, 1)
    return FileFacts(
        sha256=file_sha256(path),
        size=path.stat().st_size,
        frames=info.frames,
        samplerate=info.samplerate,
        channels=info.channels,
        format=info.format,
    )


def _track_facts(track: TrackFiles, facts_of: Callable[[Path], FileFacts]) -> dict[str, FileFacts]:
    before = [_identity(path) for path in track.files.values()]
    entry = _entry("seen", INDEX_VERSION, sorted(zip(track.files, before, strict=True)))
    known = _load(entry)
    if known is not None:
        return {name: FileFacts(**known[name]) for name in track.files}
    facts = {name: facts_of(path) for name, path in track.files.items()}
    after = [_identity(path) for path in track.files.values()]
    if after == before and not any(_is_recent(identity) for identity in after):
        _store(entry, {name: dataclasses.asdict(fact) for name, fact in facts.items()})
    return facts


def _identity(path: Path) -> tuple[int, int, int, int]:
    """(inode, bytes, modification and change time in ns). The last can't be set by a program."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _is_recent(identity: tuple[int, int, int, int]) -> bool:
    return max(identity[2:]) > time.time_ns() - int(RECENT_SECONDS * 1e9)


def mixture_statistics(
    name: str,
    facts: Mapping[str, FileFacts],
    stems: tuple[str, ...],
    reader: StemReader,
    channels: int,
) -> Normalisation:
    """Return the whole-file normalisation of a track's mixture (the sum of `stems` without one).

    Args:
        name: of the track, for messages.
        facts: of the track's files, by stem and "mixture".
        stems: whose sum is the mixture.
        reader: gives the audio, in `channels` channels (the mono mix depends on their number where
            a surround recording is mixed down).

    Raises:
        DataError: the mixture is not finite, or can't be read.
    """
    contents = sorted(facts[stem].sha256 for stem in stems)
    contents = [facts[MIXTURE].sha256] if MIXTURE in facts else contents
    entry = _entry("statistics", INDEX_VERSION, channels, contents)
    known = _load(entry)
    if known is not None:
        return Normalisation(mean=known["mean"], std=known["std"])
    statistics = MonoStatistics()
    frames = facts[stems[0]].frames
    for start, count in _blocks(frames):
        if MIXTURE in facts:
            statistics.update(reader.read(MIXTURE, start, count))
        else:
            statistics.update(reader.read_stems(stems, start, count).sum(dim=0))
    normalisation = statistics.normalisation("file_mono_std")
    if not math.isfinite(normalisation.mean) or not math.isfinite(normalisation.std):
        raise DataError(
            f"track {name!r}: its mixture holds NaN or infinite samples; render it again"
            " (`python -m tools.check_data ROOT` names the file and the sample)"
        )
    _store(entry, {"mean": normalisation.mean, "std": normalisation.std})
    return normalisation


def _blocks(frames: int) -> Iterator[tuple[int, int]]:
    for start in range(0, frames, _STATISTICS_BLOCK):
        yield start, min(_STATISTICS_BLOCK, frames - start)


def _entry(table: str, *key: Any) -> Path:
    """Return where the entry of a key lies."""
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return cache_root() / "index" / table / digest[:2] / f"{digest}.json"


def _store(entry: Path, value: Any) -> None:
    """Keep an entry; a cache folder that can't be written costs time, not the run."""
    try:
        write_json_atomic(entry, {"value": value, "checksum": _checksum(value)})
    except OSError as error:
        logger.warning("%s: the index can't be kept (%s), it is made at each start", entry, error)


def _load(entry: Path) -> Any | None:
    """Return an entry, None where there is none or it is damaged."""
    try:
        stored = json.loads(entry.read_text(encoding="utf-8"))
        if stored["checksum"] == _checksum(stored["value"]):
            return stored["value"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.debug("%s: %s", entry, error)
    logger.warning("%s: a damaged index entry is made again", entry)
    return None


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
