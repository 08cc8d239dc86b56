"""From an audio file to one file a source, disk to disk, in constant memory."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mss.core.audio import convert_channels
from mss.core.audio_io import (
    AudioReader,
    AudioWriter,
    OutputFormat,
    open_reader,
    open_writer,
    parse_format,
)
from mss.core.errors import DataError, StemgridError
from mss.core.normalise import MonoStatistics, Normalisation
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.separate import ProgressFn
from mss.infer.session import ModelInput, StreamingSession
from mss.infer.song_names import song_name

_BLOCK = 1 << 16
"""Samples read at a time; bounds memory beside the model, and is no part of the result."""


@dataclass(frozen=True)
class SeparatedFile:
    """What became of one recording.

    Attributes:
        path: the recording.
        stems: the file of each source.
        samplerate: Hz, of the recording and of every stem.
        channels: of every stem.
        frames: samples per channel of the recording and of every stem.
        peaks: by source, largest magnitude; 1.0 is full scale.
        clipped: by source, samples beyond full scale that the format cut off (0 in float files).
        sum_error_db: energy of (mixture - sum of the stems) over that of the mixture, in dB,
            before the format's rounding; None where the mixture is silent.
    """

    path: Path
    stems: dict[str, Path]
    samplerate: int
    channels: int
    frames: int
    peaks: dict[str, float]
    clipped: dict[str, int]
    sum_error_db: float | None


def separate_file(
    chunk_fn: ChunkFn,
    spec: AudioSpec,
    inference: InferenceDefaults,
    path: str | os.PathLike[str],
    out_folder: str | os.PathLike[str],
    fmt: str | OutputFormat = "wav16",
    *,
    name: str | None = None,
    batch_size: int = 1,
    progress: ProgressFn | None = None,
) -> SeparatedFile:
    """Separate an audio file into ``out_folder/<name>/<source>.<ext>``.

    Stems have the recording's sample rate, length and (mono or stereo) channels. They appear
    together when all are complete: after an exception, Ctrl-C included, nothing has changed on the
    disk. Their level is never changed; samples beyond full scale are counted, and only a float
    format keeps them.

    The recording is decoded twice where the model normalises by facts about the whole of it.

    Args:
        chunk_fn, spec, inference, batch_size: as in mss.infer.separate.separate.
        path: the recording; anything that mss.core.audio_io reads.
        out_folder: is created.
        fmt: as mss.core.audio_io.parse_format takes it.
        name: of the song's folder (default: the file's name without its ending).
        progress: told the share that is done, in [0, 1].

    Raises:
        DataError: the file can't be read, holds no audio, or its stems can't be written.
        ConfigError: the format, segment or overlap is nonsense, or the format can't hold this.
    """
    chosen = fmt if isinstance(fmt, OutputFormat) else parse_format(fmt)
    file = Path(path)
    folder = Path(out_folder) / (name or song_name(file))
    stems = {source: folder / f"{source}{chosen.extension}" for source in spec.sources}
    for stem in stems.values():
        if stem.exists() and stem.samefile(file):
            raise DataError(f"{file}: a stem would overwrite it. Choose another folder with -o.")
    with open_reader(file, check_finite=True) as reader:
        normalisation, frames = _first_pass(reader, spec, inference)
        session = StreamingSession(
            chunk_fn,
            spec,
            inference,
            reader.info.samplerate,
            reader.info.channels,
            normalisation,
            batch_size,
        )
        with staged(folder) as staging:
            sums = _SumError(session.channels)
            with contextlib.ExitStack() as stack:
                writers = [
                    stack.enter_context(
                        open_writer(
                            staging / stem.name,
                            reader.info.samplerate,
                            session.channels,
                            chosen,
                            frames=frames,
                        )
                    )
                    for stem in stems.values()
                ]
                written = _second_pass(reader, session, writers, sums, frames, progress)
            if written == 0:
                raise DataError(f"{file}: holds no audio. Give a file of at least one sample.")
    return SeparatedFile(
        path=file,
        stems=stems,
        samplerate=reader.info.samplerate,
        channels=session.channels,
        frames=written,
        peaks=dict(zip(spec.sources, [writer.peak for writer in writers], strict=True)),
        clipped=dict(zip(spec.sources, [writer.clipped for writer in writers], strict=True)),
        sum_error_db=sums.decibels(),
    )


def _first_pass(
    reader: AudioReader, spec: AudioSpec, inference: InferenceDefaults
) -> tuple[Normalisation, int | None]:
    """Return the recording's normalisation, and its length where that is known.

    The statistics are those of what the model sees: its channels, its sample rate.
    """
    if inference.normalise == "none":
        return Normalisation(), reader.info.frames
    model_input = ModelInput(spec, reader.info.samplerate)
    statistics = MonoStatistics()
    frames = 0
    for block in reader.blocks(_BLOCK):
        frames += block.shape[-1]
        statistics.update(model_input.feed(block))
    statistics.update(model_input.flush())
    return statistics.normalisation(inference.normalise), frames


def _second_pass(
    reader: AudioReader,
    session: StreamingSession,
    writers: list[AudioWriter],
    sums: _SumError,
    expected: int | None,
    progress: ProgressFn | None,
) -> int:
    """Separate block by block into the writers; return the number of samples written."""
    done = 0

    def keep(stems: Tensor) -> None:
        nonlocal done
        if stems.shape[-1] == 0:
            return
        for writer, stem in zip(writers, stems, strict=True):
            writer.write(stem)
        sums.stems(stems)
        done += stems.shape[-1]
        # where a header tells less than there is, the bar waits at its end
        if progress is not None and expected:
            progress(min(1.0, done / expected))

    for block in reader.blocks(_BLOCK):
        sums.mixture(block)
        keep(session.feed(block))
    keep(session.flush())
    if progress is not None:
        progress(1.0)
    return done


class _SumError:
    """Energy of what the stems leave of the mixture.

    The mixture's blocks wait for the stems, which come out later: as many samples as the
    session holds back.
    """

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._waiting: deque[Tensor] = deque()
        self._mixture_energy = 0.0
        self._error_energy = 0.0

    def mixture(self, block: Tensor) -> None:
        """Take in a block [C, n] of the recording."""
        self._waiting.append(convert_channels(block, self._channels))

    def stems(self, stems: Tensor) -> None:
        """Take in the stems [S, channels, m] of the oldest m samples that wait."""
        total = stems.sum(dim=0)
        start = 0
        while start < total.shape[-1]:
            block = self._waiting.popleft()
            count = min(block.shape[-1], total.shape[-1] - start)
            if count < block.shape[-1]:
                self._waiting.appendleft(block[:, count:])
            block = block[:, :count].double()
            error = block - total[:, start : start + count].to(block)
            self._mixture_energy += block.square().sum().item()
            self._error_energy += error.square().sum().item()
            start += count

    def decibels(self) -> float | None:
        """Return the error relative to the mixture in dB; None for a silent mixture."""
        if self._mixture_energy == 0:
            return None
        if self._error_energy == 0:
            return -math.inf
        return 10 * math.log10(self._error_energy / self._mixture_energy)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`; what is written there moves into it at the end.

    After an exception, Ctrl-C included, the hidden folder is removed, and so are the parents of
    `folder` that were made for it.

    Raises:
        DataError: a folder can't be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file, not a folder. Choose another folder with -o.")
    made = [parent for parent in folder.parents if not parent.exists()]  # the deepest first
    staging: Path | None = None
    try:
        with _write_faults(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # cut by bytes' worst case: four of them a character, 255 in a name
            hidden = f".{folder.name[:40]}."
            staging = Path(tempfile.mkdtemp(prefix=hidden, dir=folder.parent))
        try:
            yield staging
        except StemgridError as error:
            # the user asked for `folder` and should not have to know of the hidden one
            raise type(error)(str(error).replace(str(staging), str(folder))) from error
        with _write_faults(folder):
            folder.mkdir(exist_ok=True)
            for file in sorted(staging.iterdir()):
                os.replace(file, folder / file.name)
            staging.rmdir()
    except BaseException:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: another process uses it
                parent.rmdir()
        raise


@contextlib.contextmanager
def _write_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = error.strerror or str(error)
        raise DataError(
            f"{folder}: can't be written ({fault}). Choose another folder with -o, or check its "
            "permissions and the free space."
        ) from error
