"""The embedded default data set: made once on the user's machine, then found in the cache."""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from mss.core.cache import cache_root
from mss.core.errors import DataError
from mss.data.synth.banks import SPLITS
from mss.data.synth.composer import COMPOSER_VERSION
from mss.data.synth.dataset import (
    MIDI_FOLDER,
    WAV_NAMES,
    DemoSize,
    SongRecord,
    demo_size,
    is_whole,
    write_manifest,
    write_song,
)
from mss.data.synth.render import require_renderer
from mss.data.synth.score import SAMPLERATE
from mss.data.synth.worker import render_in_processes

logger = logging.getLogger(__name__)

MAX_PROCESSES = 4
# A worker whose parent was killed ends after the song that it is at.
ORPHAN_SECONDS = 5.0
# Below this number of songs another process takes longer to start than it saves.
_SONGS_WORTH_A_PROCESS = 6


def demo_folder(root: Path | None, size: DemoSize | str, seed: int) -> Path:
    """Return where a set is or will be: its name carries composer version, size and seed."""
    parent = cache_root() / "demo" if root is None else Path(root)
    return parent / f"demo-v{COMPOSER_VERSION}-{demo_size(size).label}-seed{seed}"


def ensure_demo_dataset(
    root: Path | None = None, size: DemoSize | str = "demo", seed: int = 0, progress: bool = True
) -> Path:
    """Return the folder of the demo set, composing and rendering it on first use.

    The folder has the shape of MUSDB-HQ: SPLIT/NAME/{mixture,drums,bass,other,vocals}.wav with the
    splits train, valid and test, 44.1 kHz stereo of 16 bits, the mixture the exact sum of the
    stems; beside them manifest.json and the songs as MIDI files. The same size and seed give the
    same bytes.

    Processes that ask at once wait for the one that builds. It builds in a hidden folder beside the
    final one and renames that at the end, so a killed build leaves no half set; what it left is
    removed by the next build.

    Args:
        root: folder to keep the set in; default: `demo` in the cache folder ($STEMGRID_CACHE).
        size: `demo`, `demo_large`, `tiny` or numbers of your own.
        progress: show a progress bar while building.

    Raises:
        ConfigError: unknown size, or the packages that render are not installed.
        DataError: no space or no right to write there, or the rendering failed.
    """
    size = demo_size(size)
    final = demo_folder(root, size, seed)
    if is_whole(final):
        return final
    require_renderer()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _locked(final.parent / f".{final.name}.lock"):
            if not is_whole(final):
                _build(final, size, seed, progress)
    except OSError as error:
        raise DataError(
            f"{final}: the demo set cannot be written there ({error.strerror or error}); "
            "set $STEMGRID_CACHE to a folder that you may write to."
        ) from error
    return final


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; it is free again when this process ends in whatever way."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s is held by another process that builds the demo set: waiting for it.", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(final: Path, size: DemoSize, seed: int, progress: bool) -> None:
    """Build beside `final` and rename. The caller holds the lock."""
    prefix = f".{final.name}.building-"
    for leftover in final.parent.glob(f"{prefix}*"):
        logger.warning("%s: removing what an interrupted build left.", leftover)
        _remove_tree(leftover)
    _check_space(final.parent, size)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=final.parent) as name:
        folder = Path(name) / final.name
        for split in SPLITS:
            (folder / split).mkdir(parents=True)
            (folder / MIDI_FOLDER / split).mkdir(parents=True)
        write_manifest(folder, size, seed, _write_songs(folder, size, seed, progress))
        if final.exists():
            logger.warning("%s: files are missing or cut short; the set was made again.", final)
            _remove_tree(final)
        os.replace(folder, final)


def _remove_tree(folder: Path) -> None:
    """Remove a folder into which a worker of a killed build may still be writing its last song."""
    try:
        shutil.rmtree(folder)
    except OSError:
        time.sleep(ORPHAN_SECONDS)
        shutil.rmtree(folder)


def _write_songs(folder: Path, size: DemoSize, seed: int, progress: bool) -> list[SongRecord]:
    songs = list(size.song_keys())
    processes = min(
        MAX_PROCESSES, os.cpu_count() or 1, max(1, len(songs) // _SONGS_WORTH_A_PROCESS)
    )
    with tqdm(total=len(songs), desc="Demo songs", unit="song", disable=not progress) as bar:
        if processes > 1:
            return render_in_processes(folder, seed, songs, size.seconds, processes, bar.update)
        records = []
        for split, index in songs:
            records.append(write_song(folder, seed, split, index, size.seconds))
            bar.update()
        return records


def _check_space(parent: Path, size: DemoSize) -> None:
    """Refuse to begin what the disk cannot hold; songs are up to 4 seconds longer than asked."""
    needed = size.songs * (size.seconds + 4) * SAMPLERATE * 4 * len(WAV_NAMES)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise DataError(
            f"{parent}: the demo set needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "free some, or set $STEMGRID_CACHE to a folder on another disk."
        )
