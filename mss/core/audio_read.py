"""Reading audio files: libsndfile first, FFmpeg for what it can't read; never torchaudio.

    libsndfile  wav, flac, ogg (Vorbis, Opus), aiff, mp3 with a length in its header
    FFmpeg      m4a, mp4, video, other mp3, wav and flac from a pipe (audio_ffmpeg.py)

Both drop an MP3's encoder delay and padding where its LAME tag tells them. Samples are float32 of
full scale 1.0; integers are scaled by a power of 2, so 16 and 24 bits are held exactly.
"""

import contextlib
import errno
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import torch

from mss.core import audio_ffmpeg
from mss.core.audio_ffmpeg import Samples
from mss.core.audio_headers import AudioInfo, check_header, truncated
from mss.core.errors import DataError

_UNKNOWN_FRAMES = 2**62  # libsndfile says SF_COUNT_MAX (2**63 - 1) for a FLAC of unknown length

# Encoders count an MP3's frames with or without the one that holds the count.
_MP3_TOLERANCE = 2 * 1152  # samples

# The last page of an Ogg Vorbis file tells where the audio ends, perhaps before its last packet:
# seeking into it, libsndfile lands too far. A page holds up to 255 packets of 4096 samples.
_OGG_LAST_PAGE = 255 * 4096  # samples

_DEFAULT_BLOCK = 2**16  # samples


def audio_info(path: str | os.PathLike[str], stream: int = 0) -> AudioInfo:
    """Return what is known of an audio file without decoding it to its end.

    Args:
        path: the file.
        stream: which of its audio streams, counted from 0.

    Raises:
        DataError: missing, a folder, unreadable, empty, truncated, not audio, no such stream.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise DataError(f"{file}: this is a folder. Name an audio file in it.")
        if file.exists() and not file.is_file():  # it is read more than once
            raise DataError(f"{file}: not a regular file (a pipe?). Save it to a file first.")
        decoder = check_header(file)
    except OSError as error:
        raise _unreadable(file, error) from error
    if decoder == "soundfile" and stream == 0:
        # libsndfile parses no more than headers here; what it can't open, FFmpeg may.
        with contextlib.suppress(soundfile.LibsndfileError):
            if (info := _soundfile_info(file)) is not None:
                return info
    return audio_ffmpeg.probe(file, stream)


def open_reader(
    path: str | os.PathLike[str], *, stream: int = 0, check_finite: bool = False
) -> "AudioReader":
    """Open a file for streaming; see `AudioReader`. Raises as `audio_info`."""
    return AudioReader(audio_info(path, stream), check_finite=check_finite)


def read_audio(
    path: str | os.PathLike[str],
    start: int = 0,
    frames: int = -1,
    *,
    stream: int = 0,
    check_finite: bool = False,
) -> tuple[torch.Tensor, int]:
    """Read an excerpt: exactly the slice `[start, start + frames)` of the whole file's samples.

    As a slice, it is shorter where it passes the end. WAV, FLAC, Ogg and AIFF seek; MP3 and what
    FFmpeg reads are decoded from the beginning, because their seeking is not exact.

    Args:
        path: the file.
        start: first sample, from 0.
        frames: samples to read; -1 for all that follow.
        stream: which audio stream, counted from 0.
        check_finite: raise where the excerpt holds a NaN or an infinity.

    Returns:
        `[C, T]` float32, and the sample rate in Hz.

    Raises:
        DataError: as `audio_info`; damaged or truncated within the excerpt; not finite.
    """
    if start < 0 or frames < -1:
        raise ValueError(f"start must be >= 0 and frames >= -1, got {start} and {frames}")
    with open_reader(path, stream=stream, check_finite=check_finite) as reader:
        blocks = list(reader.excerpt(start, None if frames == -1 else frames))
        info = reader.info
    if not blocks:
        return torch.zeros(info.channels, 0), info.samplerate
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1), info.samplerate


class AudioReader:
    """Stream a file in constant memory, as often as wanted.

    Every pass opens the file anew and decodes it from its beginning with the same calls, so two
    passes give the same samples and the same count.

        with open_reader("song.flac") as reader:
            for block in reader.blocks(44100):   # [C, n], n = 44100 but for the last
                ...
    """

    def __init__(self, info: AudioInfo, *, check_finite: bool = False) -> None:
        """Args: what `audio_info` gave; whether to raise at a NaN or an infinity."""
        self.info = info
        self._check_finite = check_finite
        self._passes = contextlib.ExitStack()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, also for a pass that was not read to its end."""
        self._passes.close()

    def blocks(self, frames: int) -> Iterator[torch.Tensor]:
        """Yield the whole file in blocks of `frames` samples, the last one shorter, none empty.

        Shape:
            - yields: `[C, n]` float32

        Raises:
            DataError: damaged, truncated, changing its format, or not finite.
        """
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        return self._run(0, None, frames)

    def excerpt(self, start: int, frames: int | None) -> Iterator[torch.Tensor]:
        """Yield the samples `[start, start + frames)`, or to the end, in few blocks."""
        block = frames if frames is not None else self.info.frames
        return self._run(start, frames, block or _DEFAULT_BLOCK)

    def _run(self, start: int, frames: int | None, block: int) -> Iterator[torch.Tensor]:
        if self.info.decoder == "soundfile":
            decoded = _decode_soundfile(self.info, start, frames, block)
        else:
            decoded = _regroup(audio_ffmpeg.decode(self.info), start, frames, block)
        self._passes.callback(decoded.close)
        position = start
        for samples in decoded:
            if self._check_finite and not np.isfinite(samples).all():
                bad = int(np.flatnonzero(~np.isfinite(samples).all(axis=0))[0])
                raise DataError(
                    f"{self.info.path}: sample {position + bad} is not a finite number (NaN or"
                    " infinity). Render the file again, or repair it in an audio editor."
                )
            position += samples.shape[1]
            yield torch.from_numpy(samples)


def _soundfile_info(path: Path) -> AudioInfo | None:
    """Return what libsndfile knows; None for a FLAC of unknown length, which it fails to read."""
    with soundfile.SoundFile(os.fspath(path)) as handle:
        if handle.frames >= _UNKNOWN_FRAMES:
            return None
        return AudioInfo(
            path=path,
            samplerate=handle.samplerate,
            channels=handle.channels,
            frames=handle.frames,
            exact=handle.format != "MP3",
            format=f"{handle.format} {handle.subtype}",
            decoder="soundfile",
        )


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file whose `read` does nothing but read.

    soundfile seeks after every read to where it already is. In an MP3 that is not exact: libsndfile
    lands some samples away, and a file read in blocks differs from one read at once.
    """

    def seekable(self) -> bool:
        return False  # to soundfile's own code; `seek` still works


def _decode_soundfile(
    info: AudioInfo, start: int, frames: int | None, block: int
) -> Generator[Samples, None, None]:
    """Yield `[C, n]` blocks of an excerpt, n = `block` but for the last."""
    assert info.frames is not None, "libsndfile always gives a length"
    end = info.frames if frames is None else min(start + frames, info.frames)
    position = 0
    try:
        with _SequentialFile(os.fspath(info.path)) as handle:
            if info.exact:
                position = min(start, info.frames)
                if handle.subtype == "VORBIS":
                    position = max(0, min(position, info.frames - _OGG_LAST_PAGE))
                handle.seek(position)
            while position < end:
                skips = position < start
                wanted = min(_DEFAULT_BLOCK, start - position) if skips else block
                wanted = min(wanted, end - position)
                samples = handle.read(wanted, dtype="float32", always_2d=True)  # [n, C]
                position += len(samples)
                if len(samples) and not skips:
                    yield np.ascontiguousarray(samples.T)
                if len(samples) < wanted:
                    break
    except soundfile.LibsndfileError as error:
        raise _damaged(info.path, position, error) from error
    if position < end - (0 if info.exact else _MP3_TOLERANCE):
        raise truncated(info.path, f"{info.frames} frames", f"{position} were found")


def _regroup(
    decoded: Iterator[Samples], start: int, frames: int | None, block: int
) -> Generator[Samples, None, None]:
    """Cut frames of a codec's size to the blocks asked for, and drop what precedes `start`."""
    kept: list[Samples] = []  # of together less than `block` samples
    held, skip, left = 0, start, frames
    for arriving in decoded:
        samples = arriving[:, skip:]
        skip -= arriving.shape[1] - samples.shape[1]
        if left is not None:
            samples = samples[:, :left]
            left -= samples.shape[1]
        kept.append(samples)
        held += samples.shape[1]
        if held >= block:
            joined = np.concatenate(kept, axis=1)
            whole = held - held % block
            for first in range(0, whole, block):
                yield np.ascontiguousarray(joined[:, first : first + block])
            kept, held = [joined[:, whole:]], held - whole
        if left == 0:
            break
    if held:
        yield np.ascontiguousarray(np.concatenate(kept, axis=1))


def _unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system doesn't open."""
    if error.errno == errno.ENOENT:
        return DataError(f"{path}: no such file. Check the name and the folder.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DataError(f"{path}: no permission to read it. `chmod u+r` it, or copy it.")
    return DataError(f"{path}: can't be read ({error.strerror or error}). Check the disk.")


def _damaged(path: Path, position: int, error: soundfile.LibsndfileError) -> DataError:
    """Return the error for a file whose decoder gives up."""
    return DataError(
        f"{path}: damaged or truncated after frame {position}"
        f" ({error.error_string.strip() or 'decoder error'}). Copy or export it again; `ffmpeg -i"
        " BROKEN GOOD.wav` keeps what can be read."
    )
