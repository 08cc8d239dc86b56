"""From an audio file to one file a source, disk to disk, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from mss.core.audio_formats import check_format
from mss.core.audio_io import (
    AudioReader,
    AudioWriter,
    OutputFormat,
    open_reader,
    open_writer,
    parse_format,
)
from mss.core.audio_tags import Tags, read_tags, write_tags
from mss.core.errors import ConfigError, DataError
from mss.infer.engine import Engine, Facts, Session
from mss.infer.output_map import with_residual
from mss.infer.pipeline import WriteBehind, read_ahead
from mss.infer.rescale import Rescale, shared_gain
from mss.infer.separate import ProgressFn
from mss.infer.song_names import song_name
from mss.infer.staging import Staging, staged
from mss.infer.sum_error import SumError

_BLOCK = 1 << 16
"""Samples read at a time; bounds memory beside the model, and is no part of the result."""


@dataclass(frozen=True)
class SeparatedFile:
    """What became of one recording.

    Attributes:
        path: the recording.
        stems: the file of each source, and of the residual where it was asked for.
        samplerate: Hz, of the recording and of every stem.
        channels: of every stem.
        frames: samples per channel of the recording and of every stem.
        peaks: by source, largest magnitude as written; 1.0 is full scale.
        clipped: by source, samples beyond full scale that the format cut off (0 in float files).
        sum_error_db: energy of (mixture - sum of the stems) over that of the mixture, in dB,
            before a gain and the format's rounding; None where the mixture is silent.
        gain: what all stems were multiplied by; 1.0: nothing was changed.
        left_out: tags and pictures of the recording that the stems don't have, a phrase each.
    """

    path: Path
    stems: dict[str, Path]
    samplerate: int
    channels: int
    frames: int
    peaks: dict[str, float]
    clipped: dict[str, int]
    sum_error_db: float | None
    gain: float = 1.0
    left_out: tuple[str, ...] = ()


def separate_file(
    engine: Engine,
    path: str | os.PathLike[str],
    out_folder: str | os.PathLike[str],
    fmt: str | OutputFormat = "wav16",
    *,
    name: str | None = None,
    places: Mapping[str, Path] | None = None,
    rescale: Rescale = "none",
    residual: bool = False,
    progress: ProgressFn | None = None,
) -> SeparatedFile:
    """Separate an audio file into ``out_folder/<name>/<source>.<ext>``.

    Stems have the recording's sample rate, length and channels. They appear together when all are
    complete: after an exception, Ctrl-C included, nothing has changed on the disk. Tags and cover
    art are copied. Decoding and encoding overlap with the separation, each in a thread; the result
    does not depend on it.

    The recording is decoded twice where the engine has to hear the whole of it first.

    With rescale "none" no level is ever changed: samples beyond full scale are counted, and only a
    float format keeps them. With "shared", where any sample of any stem is beyond full scale, one
    gain for all stems brings the largest to full scale, so that they still sum to the (quieter)
    mixture. The gain is known at the end only, so the stems wait as float files in the staging
    folder: in constant memory, without a second separation, for their size on the disk. MP3 and
    its like may pass full scale a little when decoded, whatever was encoded.

    Args:
        engine: what separates.
        path: the recording; anything that mss.core.audio_io reads.
        out_folder: is created.
        fmt: as mss.core.audio_io.parse_format takes it.
        name: of the song in `out_folder` (default: the file's name without its ending).
        places: each stem's file, beneath `out_folder` (default: ``<name>/<source>.<ext>``).
        rescale: see above.
        residual: write what the stems leave of the mixture, too, as "residual".
        progress: told the share that is done, in [0, 1], after every block; what it raises ends
            the separation.

    Raises:
        DataError: the file can't be read, holds no audio, or its stems can't be written.
        ConfigError: the format, segment or overlap is nonsense, or the format can't hold this.
    """
    if rescale not in get_args(Rescale):
        raise ConfigError(f"rescale: {rescale!r} is unknown; use {', '.join(get_args(Rescale))}")
    chosen = fmt if isinstance(fmt, OutputFormat) else parse_format(fmt)
    file, out = Path(path), Path(out_folder)
    for each in (file, out):
        _check_name(each)
    song = name or song_name(file)
    own = len(engine.sources)
    if residual:
        engine = with_residual(engine)
    stems = {
        stem: out / (places[stem] if places else Path(song, f"{stem}{chosen.extension}"))
        for stem in engine.sources
    }
    for stem in stems.values():
        if os.path.exists(stem) and os.path.exists(file) and os.path.samefile(stem, file):
            raise DataError(f"{file}: a stem would overwrite it. Choose another folder with -o.")
    with open_reader(file, check_finite=True) as reader:
        info = reader.info
        with _named(file):
            facts, frames = _first_pass(reader, engine, progress)
            session = engine.session(info.samplerate, info.channels, facts)
        for stem in stems.values():
            check_format(stem, info.samplerate, session.channels, chosen)
        with staged(out, song, list(stems.values())) as staging:
            song_files = _SongFiles(staging, stems, info.samplerate, session.channels, chosen)
            sums = SumError(own)
            written = song_files.separate(reader, session, sums, rescale, frames, progress)
            left_out = song_files.tag(read_tags(file))
    if progress is not None:
        progress(1.0)
    return SeparatedFile(
        path=file,
        stems=stems,
        samplerate=info.samplerate,
        channels=session.channels,
        frames=written,
        peaks={stem: writer.peak for stem, writer in song_files.writers.items()},
        clipped={stem: writer.clipped for stem, writer in song_files.writers.items()},
        sum_error_db=sums.decibels(),
        gain=song_files.gain,
        left_out=left_out,
    )


def _check_name(path: Path) -> None:
    """Raise a DataError for a name of bytes that are no text, which the decoders don't take."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: the name is not valid UTF-8. Rename it.") from error


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Let a fault of what the recording holds (its channels) name the recording."""
    try:
        yield
    except DataError as error:
        if str(file) in str(error):
            raise
        raise DataError(f"{file}: {error}") from error


def _first_pass(
    reader: AudioReader, engine: Engine, progress: ProgressFn | None
) -> tuple[Facts, int | None]:
    """Return what the engine has to know of a recording, and its length where that is known."""
    first_pass = engine.first_pass(reader.info.samplerate, reader.info.channels)
    if first_pass is None:
        return (), reader.info.frames
    frames = 0
    with read_ahead(reader.blocks(_BLOCK)) as blocks:
        for block in blocks:
            frames += block.shape[-1]
            first_pass.feed(block)
            if progress is not None:
                progress(0.0)
    return first_pass.finish(), frames


@dataclass
class _SongFiles:
    """A song's files while they are made.

    Attributes:
        writers: of the files as they are at the end, closed then.
        gain: what was multiplied to all of them.
    """

    staging: Staging
    stems: Mapping[str, Path]
    samplerate: int
    channels: int
    format: OutputFormat
    gain: float = 1.0

    def __post_init__(self) -> None:
        self.writers: dict[str, AudioWriter] = {}

    def separate(
        self,
        reader: AudioReader,
        session: Session,
        sums: SumError,
        rescale: Rescale,
        expected: int | None,
        progress: ProgressFn | None,
    ) -> int:
        """Write all files into the staging folder; return the samples in each."""
        waits = rescale == "shared" and self.format.limits
        with contextlib.ExitStack() as stack:
            for stem, final in self.stems.items():
                if waits:
                    path, fmt = self.staging.scratch(final, _WAITING.extension), _WAITING
                else:
                    path, fmt = self.staging.files[final], self.format
                self.writers[stem] = stack.enter_context(self._open(path, fmt, expected))
            frames = _second_pass(reader, session, self.writers, sums, expected, progress)
            if frames == 0:
                raise DataError(
                    f"{reader.info.path}: holds no audio. Give a file of at least one sample."
                )
        if waits:
            self._rescale(frames, progress)
        return frames

    def tag(self, tags: Tags) -> tuple[str, ...]:
        """Write a recording's tags into all files; return what was left out of any."""
        left_out = dict.fromkeys(tags.left_out)
        for stem, final in self.stems.items():
            written = write_tags(self.staging.files[final], tags.for_stem(stem))
            left_out |= dict.fromkeys(written)
        return tuple(left_out)

    def _rescale(self, frames: int, progress: ProgressFn | None) -> None:
        """Write the files that wait at one gain for all, each in its format, and remove them."""
        self.gain = shared_gain(max(writer.peak for writer in self.writers.values()))
        for stem, waiting in list(self.writers.items()):
            final = self._open(self.staging.files[self.stems[stem]], self.format, frames)
            with (
                open_reader(waiting.path) as reader,
                final as writer,
                read_ahead(reader.blocks(_BLOCK)) as blocks,
            ):
                for block in blocks:
                    writer.write(block * self.gain if self.gain != 1 else block)
                    if progress is not None:
                        progress(1.0)
            self.writers[stem] = final
            waiting.path.unlink()

    def _open(self, path: Path, fmt: OutputFormat, frames: int | None) -> AudioWriter:
        return open_writer(path, self.samplerate, self.channels, fmt, frames=frames)


_WAITING = parse_format("wav32")


def _second_pass(
    reader: AudioReader,
    session: Session,
    writers: Mapping[str, AudioWriter],
    sums: SumError,
    expected: int | None,
    progress: ProgressFn | None,
) -> int:
    """Separate block by block into the writers; return the number of samples written."""
    done = 0

    def write(item: tuple[Tensor | None, Tensor]) -> None:
        block, stems = item
        if block is not None:
            sums.mixture(block)
        if stems.shape[-1] == 0:
            return
        sums.stems(stems)
        for writer, stem in zip(writers.values(), stems, strict=True):
            writer.write(stem)

    def tell(stems: Tensor) -> None:
        nonlocal done
        done += stems.shape[-1]
        # where a header tells less than there is, the bar waits at its end
        if progress is not None:
            progress(min(1.0, done / expected) if expected else 0.0)

    with WriteBehind(write) as behind, read_ahead(reader.blocks(_BLOCK)) as blocks:
        for block in blocks:
            stems = session.feed(block)
            behind.put((block, stems))
            tell(stems)
        stems = session.flush()
        behind.put((None, stems))
        tell(stems)
    return done
