"""The MUSDB18 family: `dset=musdb18hq` (WAV), `musdb18` (stems.mp4) and `musdb7s` (its preview).

Z. Rafii, A. Liutkus, F.-R. Stöter, S. I. Mimilakis, R. Bittner: "The MUSDB18 corpus for music
separation", 2017. 100 training songs, of which 14 validate by convention, and 50 test songs.

The only module that imports the musdb package, and only to decode or to download: that package
does not import without the ffmpeg program. Its list of validation songs is read as a file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from filelock import FileLock

from mss.core.audio_io import audio_info
from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError
from mss.core.files import atomic_path, file_sha256
from mss.data.decoded import (
    CacheKind,
    DecodedStems,
    check_space,
    decoded_path,
    is_whole,
    open_array,
)
from mss.data.folder import FolderDataset
from mss.data.index import TrackFiles, in_threads, index_files, mixture_statistics
from mss.data.scan import SPLITS, Split
from mss.data.tracks import MIXTURE, FileFacts, IndexedTrack, TrackSet

logger = logging.getLogger(__name__)

STEMS = ("drums", "bass", "other", "vocals")
SAMPLERATE = 44100
CHANNELS = 2
VALID_TRACKS = 14

_SUFFIX = ".stem.mp4"
# Streams of a stems.mp4 (Native Instruments' stem format): the mixture, then the stems.
_STREAMS = {MIXTURE: 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}
# An AAC encoder's delay and padding, by which a container's duration may be off, in samples.
_AAC_PADDING = 4096
_DOWNLOAD_TIMEOUT_SECONDS = 30.0


class Musdb18HQDataset:
    """MUSDB18-HQ: uncompressed, in folders."""

    @dataclass(frozen=True)
    class Config:
        """Keys of `dset=musdb18hq`.

        Attributes:
            root: the folder that holds train/ and test/.
            cache: none, int16 or float32: keep decoded copies of the training songs.
        """

        root: str | None = None
        cache: CacheKind = "none"

    def __init__(self, config: Config, name: str = "musdb18hq") -> None:
        """Args: the keys; the data set's name."""
        folder = FolderDataset.Config(
            root=config.root, stems=STEMS, samplerate=SAMPLERATE, cache=config.cache
        )
        self._folder = FolderDataset(folder, name=name, valid_names=validation_names())

    def split(self, split: Split) -> TrackSet:
        """Return the songs of "train", "valid" or "test"; errors as FolderDataset's."""
        return self._folder.split(split)

    def has_split(self, split: Split) -> bool:
        """Whether there are songs of a split."""
        return self._folder.has_split(split)


class Musdb18Dataset:
    """MUSDB18 as it was first released: AAC in stems.mp4 files.

    Decoding a segment from them takes more than a second, so each song is decoded once, by the
    musdb package, to the decoded cache: 16 bits, as that package reads them (150 songs: 32 GB).
    """

    @dataclass(frozen=True)
    class Config:
        """Keys of `dset=musdb18`.

        Attributes:
            root: the folder that holds train/NAME.stem.mp4 and test/NAME.stem.mp4.
        """

        root: str | None = None

    def __init__(self, config: Config, name: str = "musdb18") -> None:
        """Args: the keys; the data set's name."""
        self.config = config
        self.name = name

    def split(self, split: Split) -> TrackSet:
        """Return the songs of "train", "valid" or "test".

        Raises:
            ConfigError: no root, or a program or package is missing.
            DataError: no such folder, no songs in it, or a file that can't be decoded.
        """
        if split not in SPLITS:
            raise ConfigError(f"split: there is no split {split!r}; there are {', '.join(SPLITS)}")
        files = self._files(split)
        facts = [known[MIXTURE] for known in index_files(files, _compressed_facts)]
        paths = [file.files[MIXTURE] for file in files]
        readers = _decode_all(paths, facts)
        pairs = list(zip(files, facts, readers, strict=True))
        tracks = in_threads(_musdb_track, pairs, "Reading mixtures")
        found = TrackSet(self.name, split, tuple(tracks), STEMS, SAMPLERATE, CHANNELS)
        logger.info(
            "%s %s: %d tracks, %.1f minutes", self.name, split, len(found), found.seconds / 60
        )
        return found

    def has_split(self, split: Split) -> bool:
        """Whether there is a folder for a split ("valid" is part of train)."""
        return (self._root / ("test" if split == "test" else "train")).is_dir()

    @functools.cached_property
    def _root(self) -> Path:
        if not self.config.root:
            raise ConfigError(
                f"dset.root: not set; say where {self.name} lies: dset.root=PATH (a folder with"
                f" train/NAME{_SUFFIX} and test/NAME{_SUFFIX})"
            )
        root = Path(self.config.root).expanduser()
        if not root.is_dir():
            raise DataError(f"dset.root: {root}: there is no such folder")
        return root

    def _files(self, split: Split) -> list[TrackFiles]:
        folder = self._root / ("test" if split == "test" else "train")
        paths = sorted(folder.glob(f"[!.]*{_SUFFIX}"))
        if not paths:
            message = f"dset.root: 0 tracks in {folder}: expected is {folder / 'NAME'}{_SUFFIX}"
            if next(folder.glob("*/mixture.wav"), None):
                message += ". It holds WAV files: dset=musdb18hq"
            raise DataError(message)
        if split != "test":
            held_out = validation_names()
            chosen = [path for path in paths if (_name(path) in held_out) == (split == "valid")]
            if not chosen:
                raise DataError(
                    f"dset.root: {folder}: all of the {len(paths)} tracks are on one side of"
                    f" MUSDB18's {len(held_out)} validation tracks, none is left to {split};"
                    " complete the data set"
                )
            paths = chosen
        return [TrackFiles(_name(path), {MIXTURE: path}) for path in paths]


class Musdb7sDataset:
    """The public preview of MUSDB18: 7 seconds of each song, downloaded by the musdb package."""

    @dataclass(frozen=True)
    class Config:
        """Keys of `dset=musdb7s`.

        Attributes:
            root: the folder that holds, or will hold, train/ and test/; null: in the cache folder.
        """

        root: str | None = None

    def __init__(self, config: Config, name: str = "musdb7s") -> None:
        """Args: the keys; the data set's name."""
        self.config = config
        self.name = name

    def split(self, split: Split) -> TrackSet:
        """Return the songs of a split, downloading them first where need be."""
        return self._stems.split(split)

    def has_split(self, split: Split) -> bool:
        """Whether there are songs of a split."""
        return self._stems.has_split(split)

    @functools.cached_property
    def _stems(self) -> Musdb18Dataset:
        root = Path(self.config.root or cache_root() / "musdb7s").expanduser()
        if not (root / "train").is_dir():
            _download_preview(root)
        return Musdb18Dataset(Musdb18Dataset.Config(root=str(root)), name=self.name)


@functools.cache
def validation_names() -> frozenset[str]:
    """Return the names of MUSDB18's validation songs, from the musdb package's own list."""
    spec = importlib.util.find_spec("musdb")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("dset: MUSDB needs the musdb package: pip install 'stemgrid[train]'")
    settings = Path(spec.submodule_search_locations[0]) / "configs" / "mus.yaml"
    names = frozenset(yaml.safe_load(settings.read_text(encoding="utf-8"))["validation_tracks"])
    assert len(names) == VALID_TRACKS, f"{settings} has {len(names)} validation tracks"
    return names


def _name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX)


def _import_musdb() -> Any:
    """Import the musdb package, which starts ffmpeg and ffprobe for all it reads."""
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"dset: stems.mp4 files need the program {' and '.join(missing)}, which is not on the"
            " PATH. Install FFmpeg (`apt install ffmpeg`, `conda install ffmpeg`), or use"
            " MUSDB18-HQ, which needs none: dset=musdb18hq"
        )
    try:
        return importlib.import_module("musdb")
    except ImportError as error:
        raise ConfigError(
            f"dset: MUSDB needs the musdb package ({error}): pip install 'stemgrid[train]'"
        ) from error


# -- stems.mp4 -----------------------------------------------------------------------------------


def _compressed_facts(path: Path) -> FileFacts:
    """Return what is known before decoding; the number of samples is not (0)."""
    info = audio_info(path)
    return FileFacts(
        file_sha256(path), path.stat().st_size, 0, info.samplerate, info.channels, info.format
    )


def _decode_all(paths: Sequence[Path], facts: Sequence[FileFacts]) -> list[DecodedStems]:
    """Decode each file that is not in the cache; errors as Musdb18Dataset.split."""
    names = (*STEMS, MIXTURE)
    readers = [DecodedStems(decoded_path("musdb", "int16", fact.sha256), names) for fact in facts]
    todo = [
        (path, reader.path)
        for path, reader in zip(paths, readers, strict=True)
        if not is_whole(reader.path, None, "int16")
    ]
    if todo:
        _import_musdb()
        frames = sum(audio_info(path).frames or 0 for path, _ in todo)
        check_space(frames * len(names) * CHANNELS * np.dtype(np.int16).itemsize)
        logger.info("Decoding %d files of %s once, to %s", len(todo), _SUFFIX, cache_root())
        in_threads(lambda pair: _decode(*pair), todo, "Decoding")
    return readers


def _decode(path: Path, destination: Path) -> None:
    streams = [_read_stream(path, _STREAMS[name]) for name in (*STEMS, MIXTURE)]
    # The streams of one file may differ by an encoder's padding; musdb cuts them to the shortest.
    length = min(stream.shape[1] for stream in streams)
    with atomic_path(destination) as temporary:
        rows = open_array(temporary, "int16", (len(streams), CHANNELS, length))
        for row, stream in enumerate(streams):
            rows[row] = stream[:, :length]
        rows.flush()


def _read_stream(path: Path, stream: int) -> npt.NDArray[np.int16]:
    """Return [C, T] of one stream, by the musdb package: the narrowest point that needs it."""
    musdb = _import_musdb()
    audio_info(path, stream)  # says so where there is no such stream
    try:
        track = musdb.MultiTrack(path=str(path), name=_name(path), stem_id=stream)
        audio = track.load_audio(str(path), stream)  # [T, C] float64, k / 32768
    except Exception as error:  # musdb raises whatever its layers raise, even plain Warnings
        raise DataError(
            f"{path}: stream {stream} can't be decoded: {error!r}. Copy the file again"
        ) from error
    if track.rate != SAMPLERATE or audio.shape[1] != CHANNELS:
        raise DataError(
            f"{path}: stream {stream} has {track.rate} Hz and {audio.shape[1]} channels, not"
            f" MUSDB18's {SAMPLERATE} Hz and {CHANNELS}"
        )
    if len(audio) == 0 or len(audio) < track.samples - _AAC_PADDING:
        raise DataError(
            f"{path}: stream {stream} ends after {len(audio)} of {track.samples} samples; the file"
            " is truncated or damaged, copy it again"
        )
    samples: npt.NDArray[np.int16] = np.rint(audio.T * 32768.0).astype(np.int16)
    return samples


def _musdb_track(found: tuple[TrackFiles, FileFacts, DecodedStems]) -> IndexedTrack:
    file, facts, reader = found
    length = reader.length
    known = {name: replace(facts, frames=length) for name in _STREAMS}
    return IndexedTrack(
        name=file.name,
        length=length,
        samplerate=SAMPLERATE,
        channels=CHANNELS,
        stems=STEMS,
        has_mixture=True,
        facts=known,
        file_statistics=mixture_statistics(file.name, known, STEMS, reader, CHANNELS),
        reader=reader,
    )


# -- the preview -----------------------------------------------------------------------------------


def _download_preview(root: Path) -> None:
    """Let musdb download its preview to a folder beside `root`, then rename that.

    Raises:
        ConfigError: no ffmpeg, without which musdb does not import.
        DataError: no network; what to put where is told.
    """
    if root.is_dir() and any(root.iterdir()):
        raise DataError(
            f"dset.root: {root}: has no train/ folder, and is not empty, so the preview is not"
            " downloaded there. Give an empty or new folder, or leave dset.root out"
        )
    musdb = _import_musdb()
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / f".{root.name}.lock"):
        if (root / "train").is_dir():  # another process was first
            return
        with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary:
            made = Path(temporary) / "preview"
            try:
                with _socket_timeout(_DOWNLOAD_TIMEOUT_SECONDS):
                    musdb.DB(root=str(made), download=True)
            except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
                raise DataError(
                    f"dset=musdb7s: the preview of MUSDB18 could not be downloaded ({error})."
                    " Without a network, unzip MUSDB18-7-STEMS.zip (github.com/sigsep/"
                    f"sigsep-mus-db, release v0.4.0) so that {root / 'train'}/NAME{_SUFFIX} and"
                    f" {root / 'test'}/NAME{_SUFFIX} are there, or use dset=demo"
                ) from error
            if root.is_dir():
                root.rmdir()
            made.rename(root)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound the waits of a downloader that sets no limit itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
