"""Writing audio files, streamed and atomic: WAV, FLAC, MP3, Ogg by libsndfile, M4A by FFmpeg.

Integers are rounded to the nearest step (ties to even) and limited here: libsndfile rounds FLAC but
floors WAV. A 16-bit file that is read and written again is therefore bit-exact. No dither is added.

Every format gives back exactly the samples that were written, in number and place, where the
decoder honours what the file says of the encoder's delay and padding, as `audio_read` does; but for
an MP3 of 32 kbit/s, whose frames have no room for it. The same audio gives the same bytes.
"""

import contextlib
import errno
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import soundfile
import torch

from mss.core.audio_encode import Encoder, open_encoder
from mss.core.audio_formats import OutputFormat, check_format, format_of
from mss.core.errors import DataError
from mss.core.files import atomic_path

# RIFF holds sizes in 32 bits; some room is left for the header.
MAX_WAV_BYTES = 2**32 - 2**12

_INTEGER_BITS = {"PCM_16": 16, "PCM_24": 24}

_NEVER_EMPTY = ("MPEG_LAYER_III", "OPUS", "AAC")

_SF_ERR_SYSTEM = 2  # libsndfile's number for whatever the system refused; it does not say what
_NO_ROOM_BYTES = 2**20  # the last block that is written may be larger than what is left


def open_writer(
    path: str | os.PathLike[str],
    samplerate: int,
    channels: int,
    subtype: str | OutputFormat | None = None,
    *,
    frames: int | None = None,
) -> "AudioWriter":
    """Open a file for streaming; see `AudioWriter`.

    Args:
        path: the file, ending as its format does. Its folder is created.
        samplerate: Hz.
        channels: of every block.
        subtype: an `OutputFormat`; or PCM_16, PCM_24 or FLOAT with the ending telling the rest;
            or None for what `format_of` takes.
        frames: about how many will be written, where known: a WAV beyond 4 GB becomes RF64 (EBU
            Tech 3306, same ending), which has to be known from the start.

    Raises:
        ConfigError: the format can't hold this, or the ending is another format's.
    """
    chosen = subtype if isinstance(subtype, OutputFormat) else format_of(path, subtype)
    return AudioWriter(Path(path), samplerate, channels, chosen, frames=frames)


def write_audio(
    path: str | os.PathLike[str],
    audio: torch.Tensor,
    samplerate: int,
    subtype: str | OutputFormat | None = None,
) -> "AudioWriter":
    """Write a whole signal atomically.

    Args:
        path, samplerate, subtype: as `open_writer`.
        audio: `[C, T]`, full scale 1.0; T may be 0.

    Returns:
        The closed writer, for its `clipped` and `peak`.

    Raises:
        ConfigError, DataError: as `open_writer` and `AudioWriter.write`.
    """
    channels, length = audio.shape
    with open_writer(path, samplerate, channels, subtype, frames=length) as writer:
        writer.write(audio)
    return writer


class AudioWriter:
    """Write a file block by block. It appears under its name when the `with` block ends well.

        with open_writer("vocals.wav", 44100, 2, parse_format("wav16")) as writer:
            for block in blocks:
                writer.write(block)   # [C, n]

    After an exception, Ctrl-C included, the file that was there before is untouched.

    Attributes:
        path: the file.
        frames: samples per channel written so far.
        peak: largest magnitude so far, 1.0 being full scale.
        clipped: samples so far beyond full scale, which integers and players of lossy formats cut
            off; a float file holds them, so there it stays 0.
    """

    def __init__(
        self,
        path: Path,
        samplerate: int,
        channels: int,
        format: OutputFormat,
        *,
        frames: int | None = None,
    ) -> None:
        """Args: as `open_writer`."""
        self.path, self.samplerate, self.channels, self.format = path, samplerate, channels, format
        self.frames = 0
        self.peak = 0.0
        self.clipped = 0
        check_format(path, samplerate, channels, format)
        width = _INTEGER_BITS.get(format.subtype, 32) // 8
        self._frame_bytes = channels * width
        expected_bytes = (frames or 0) * self._frame_bytes
        # A guess may be a little low: from 90 % of the limit on, the wide header is taken.
        self._wide = format.container == "WAV" and expected_bytes > 0.9 * MAX_WAV_BYTES
        self._stack = contextlib.ExitStack()
        self._temporary: Path | None = None
        self._encoder: Encoder | None = None
        self._checksum = 0  # of the samples, for a name that an Ogg stream needs

    def __enter__(self) -> "AudioWriter":
        with self._faults(), contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self.path))
            self._encoder = open_encoder(
                self._temporary, self.samplerate, self.channels, self.format, self._wide
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._encoder is not None
        if error is None:
            # the inner one looks at the disk while the temporary file is still on it
            with self._faults(), self._stack, self._faults():
                self._complete()
            return
        try:
            # a full disk fails here again; the error that is on its way is the one to tell
            with contextlib.suppress(OSError, soundfile.LibsndfileError):
                self._encoder.close()
        finally:
            self._stack.__exit__(kind, error, trace)  # removes the temporary file

    def write(self, block: torch.Tensor) -> None:
        """Append a block.

        Shape:
            - block: `[channels, n]`, floating point, any device

        Raises:
            DataError: not finite; disk full; a WAV that grows past 4 GB unannounced.
        """
        assert self._encoder is not None, "use the writer in a with block"
        assert block.shape[:-1] == (self.channels,), tuple(block.shape)
        if block.shape[-1] == 0:
            return
        block = block.detach().cpu()
        peak = float(block.abs().max())  # NaN where any sample is NaN
        if not peak < float("inf"):
            raise DataError(
                f"{self.path}: the audio to write holds a NaN or an infinity after sample"
                f" {self.frames}. Nothing was written."
            )
        size = (self.frames + block.shape[-1]) * self._frame_bytes
        if self.format.container == "WAV" and not self._wide and size > MAX_WAV_BYTES:
            raise DataError(
                f"{self.path}: a WAV holds at most 4 GB. Write flac, or a format of fewer bits."
            )
        self.peak = max(self.peak, peak)
        if self.format.limits and peak > 1:
            self.clipped += int((block.abs() > 1).sum())
        samples = _encode(block, self.format.subtype).T.contiguous().numpy()  # [n, C]
        if self.format.container == "OGG":
            self._checksum = zlib.crc32(samples.data, self._checksum)
        with self._faults():
            self._encoder.write(samples)
        self.frames += block.shape[-1]

    def _complete(self) -> None:
        """Close the file and set right what libsndfile leaves."""
        assert self._encoder is not None
        assert self._temporary is not None
        if self.frames == 0 and self.format.subtype in _NEVER_EMPTY:
            # libsndfile and FFmpeg would leave a file that no one can read: one silent sample.
            self._encoder.write(torch.zeros(1, self.channels).numpy())
        self._encoder.close()
        if self.frames == 0 and self.format.container == "FLAC":
            bits = _INTEGER_BITS[self.format.subtype]
            self._temporary.write_bytes(_empty_flac(self.samplerate, self.channels, bits))
        if self.format.subtype == "FLOAT":
            _clear_peak_time(self._temporary)
        if self.format.container == "OGG":
            _number_ogg_stream(self._temporary, self._checksum)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what the system or libsndfile refuses into a DataError."""
        try:
            yield
        except (OSError, soundfile.LibsndfileError) as error:
            fault = getattr(error, "strerror", None) or str(error)
            if getattr(error, "code", None) == _SF_ERR_SYSTEM and _is_full(self.path.parent):
                fault = os.strerror(errno.ENOSPC)
            raise DataError(
                f"{self.path}: can't be written ({fault}). Check the folder's permissions and the"
                " free space."
            ) from error


def _is_full(folder: Path) -> bool:
    """Return whether the disk of a folder has no room to speak of."""
    try:
        return shutil.disk_usage(folder).free < _NO_ROOM_BYTES
    except OSError:
        return False  # the folder is gone, say: something else is at fault


def _encode(block: torch.Tensor, subtype: str) -> torch.Tensor:
    """Convert floats to what libsndfile stores without rounding of its own."""
    bits = _INTEGER_BITS.get(subtype)
    if bits is None:
        return block.to(torch.float32)
    full_scale = 2 ** (bits - 1)
    steps = torch.round(block.to(torch.float32) * full_scale)  # a power of 2: exact up to here
    steps = steps.clamp_(-full_scale, full_scale - 1)
    if bits == 16:
        return steps.to(torch.int16)
    return steps.to(torch.int32) << 8  # libsndfile takes the upper 24 of 32 bits


def _empty_flac(samplerate: int, channels: int, bits: int) -> bytes:
    """Return a FLAC of no frames: the mark and one STREAMINFO block (RFC 9639, section 8.2)."""
    last_block_of_34_bytes = bytes([0x80, 0, 0, 34])
    block_sizes = struct.pack(">HH", 4096, 4096)
    packed = (samplerate << 44) | ((channels - 1) << 41) | ((bits - 1) << 36)  # and 0 samples
    unknown_frame_sizes, md5 = bytes(6), bytes(16)
    head = b"fLaC" + last_block_of_34_bytes + block_sizes + unknown_frame_sizes
    return head + packed.to_bytes(8, "big") + md5


def _clear_peak_time(path: Path) -> None:
    """Zero the time that libsndfile puts into a float WAV: the same audio gives the same bytes."""
    with open(path, "r+b") as handle:
        head = handle.read(4096)
        chunk = head.find(b"PEAK", 0, max(head.find(b"data"), 0))
        if chunk >= 0:
            handle.seek(chunk + 12)  # name, size, version, then the time
            handle.write(bytes(4))


def _number_ogg_stream(path: Path, serial: int) -> None:
    """Replace the random number that libsndfile gives an Ogg stream, in every page (RFC 3533)."""
    from mutagen.ogg import OggPage

    with open(path, "r+b") as handle:
        while True:
            start = handle.tell()
            try:
                page = OggPage(handle)
            except EOFError:
                return
            page.serial = serial
            handle.seek(start)
            handle.write(page.write())  # of the same size, with its checksum
