"""What an audio file says of itself, read from its first bytes, where the decoders won't tell.

libsndfile shortens a truncated file silently to what is there, stops early in an MP3 whose length
it guessed, and finds nothing in a WAV whose writer left the sizes at 0. These checks tell the cases
apart.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from mss.core.errors import DataError

# Sizes that writers to a pipe leave in a WAV: FFmpeg and most others 0xFFFFFFFF (some less the
# header), SoX 0x7FFFF000, ALSA and others 0x7FFFFFFF or 0x80000000, or 0.
_OPEN_ENDED_SIZES = (range(1), range(0x7FFFF000, 0x80000001), range(0xFFFFFF00, 0x100000000))
_MAX_CHUNKS = 10_000  # a damaged file must not keep us walking

_MP3_TAGS_BYTES = 2**16  # room for other tags after the audio (APE, Lyrics3)

_OGG_MAX_PAGE = 27 + 255 + 255 * 255  # bytes


Decoder: TypeAlias = Literal["soundfile", "ffmpeg"]


@dataclass(frozen=True)
class AudioInfo:
    """What is known of an audio file before it is decoded to its end.

    Attributes:
        path: the file.
        samplerate: Hz.
        channels: audio channels.
        frames: samples per channel as the file declares them, None where it doesn't.
        exact: True where decoding gives exactly `frames` or raises; False where `frames` is None
            or may be a little off (MP3, and what FFmpeg reads): only decoding tells.
        format: container and encoding, such as "WAV PCM_16" or "mov aac".
        decoder: "soundfile" or "ffmpeg".
        stream: index among the file's audio streams.
    """

    path: Path
    samplerate: int
    channels: int
    frames: int | None
    exact: bool
    format: str
    decoder: Decoder
    stream: int = 0

    @property
    def seconds(self) -> float | None:
        """Length in seconds, None where the file doesn't tell."""
        return None if self.frames is None else self.frames / self.samplerate


def check_header(path: Path) -> Decoder:
    """Read the header of the file at `path`; return which decoder reads the whole of it.

    Raises:
        DataError: the file is empty, or holds less than its header promises.
        OSError: it can't be read.
    """
    with open(path, "rb") as handle:
        magic = handle.read(12)
        if not magic:
            raise DataError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
        handle.seek(0)
        if magic[:4] in (b"RIFF", b"RF64") and magic[8:] == b"WAVE":
            return _check_wav(path, handle)
        if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
            _check_aiff(path, handle)
        elif magic[:4] == b"OggS":
            return _check_ogg(path, handle)
        elif magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1:2] >= b"\xe0"):
            return _route_mp3(handle)
    return "soundfile"


def truncated(path: Path, expected: str, found: str) -> DataError:
    """Return the error for a file that ends too early."""
    return DataError(
        f"{path}: the file is truncated: its header promises {expected}, {found}. Copy or export"
        " it again; `ffmpeg -i BROKEN GOOD.wav` keeps what is there."
    )


def _size(handle: BinaryIO) -> int:
    return os.fstat(handle.fileno()).st_size


def _check_wav(path: Path, handle: BinaryIO) -> Decoder:
    """Compare the size of the data chunk with the file (RIFF; RF64 of EBU Tech 3306)."""
    file_bytes = _size(handle)
    handle.seek(4)
    riff_bytes = struct.unpack("<I", handle.read(4))[0]
    position, frame_bytes, wide_data_bytes = 12, 0, 0
    for _ in range(_MAX_CHUNKS):
        handle.seek(position)
        header = handle.read(8)
        if len(header) < 8:
            break
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        body = position + 8
        if name == b"fmt ":
            frame_bytes = struct.unpack("<H", handle.read(16)[12:14].ljust(2, b"\0"))[0]
        elif name == b"ds64":
            wide_data_bytes = struct.unpack("<Q", handle.read(16)[8:16].ljust(8, b"\0"))[0]
        elif name == b"data":
            there = file_bytes - body
            if size == 0xFFFFFFFF and wide_data_bytes:
                size = wide_data_bytes
            elif size == 0:
                # With a real zero the size of the whole agrees; with a pipe's it doesn't, and then
                # FFmpeg reads to the end of the file where libsndfile reads nothing.
                open_ended = riff_bytes == 0xFFFFFFFF or riff_bytes + 8 < file_bytes
                return "ffmpeg" if open_ended and there > 0 else "soundfile"
            elif any(size in sizes for sizes in _OPEN_ENDED_SIZES):
                return "soundfile"  # reads what is there
            frame_bytes = max(frame_bytes, 1)
            if there // frame_bytes < size // frame_bytes:
                raise truncated(
                    path,
                    f"{size // frame_bytes} frames ({size} bytes)",
                    f"{there // frame_bytes} frames ({there} bytes) were found",
                )
            return "soundfile"
        position = body + size + size % 2
    return "soundfile"  # no data chunk: libsndfile names the fault


def _check_aiff(path: Path, handle: BinaryIO) -> None:
    """Compare the size of the sound chunk with the file."""
    file_bytes = _size(handle)
    position = 12
    for _ in range(_MAX_CHUNKS):
        handle.seek(position)
        header = handle.read(8)
        if len(header) < 8:
            return
        name, size = header[:4], struct.unpack(">I", header[4:])[0]
        if name == b"SSND":  # 8 bytes of offset and block size, then the samples
            expected, found = size - 8, file_bytes - position - 16
            if found < expected:
                raise truncated(path, f"{expected} bytes of samples", f"{found} were found")
            return
        position += 8 + size + size % 2


def _check_ogg(path: Path, handle: BinaryIO) -> Decoder:
    """Look whether the last page is whole (RFC 3533): an Ogg header holds no length.

    A last page of another logical stream than the first is one of several joined files, of which
    libsndfile reads the first only.
    """
    file_bytes = _size(handle)
    handle.seek(0)
    first_serial = handle.read(18)[14:]
    offset = max(0, file_bytes - 2 * _OGG_MAX_PAGE)
    handle.seek(offset)
    tail = handle.read()
    start = tail.rfind(b"OggS")
    if start >= 0:
        segments = tail[start + 26] if len(tail) > start + 26 else 0
        table = tail[start + 27 : start + 27 + segments]
        end = start + 27 + segments + sum(table)
        if len(table) == segments and segments and end <= len(tail):
            last_serial = tail[start + 14 : start + 18]
            return "soundfile" if last_serial == first_serial else "ffmpeg"
    raise truncated(path, "a whole last Ogg page", f"the file ends within it at byte {file_bytes}")


def mp4_timescale(path: Path) -> int | None:
    """Return the ticks a second in which the edit lists of an MP4 count.

    It stands in the movie header, moov/mvhd (ISO 14496-12, section 8.2.2). None where there is
    none, or the file is in fragments (moov/mvex), whose lengths the header doesn't know.
    """
    with open(path, "rb") as handle:
        end = _size(handle)
        movie = _find_box(handle, b"moov", 0, end)
        header = _find_box(handle, b"mvhd", *movie) if movie else None
        if movie is None or header is None or _find_box(handle, b"mvex", *movie):
            return None
        handle.seek(header[0])
        content = handle.read(24)
    # A version and flags, two times of 32 or (in version 1) 64 bits, then the ticks.
    offset = 20 if content[:1] == b"\x01" else 12
    return int.from_bytes(content[offset : offset + 4], "big") or None


def _find_box(handle: BinaryIO, name: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Return where the content of the first box of a name starts and ends, within [start, end)."""
    for _ in range(_MAX_CHUNKS):
        handle.seek(start)
        head = handle.read(16)
        if len(head) < 8 or start + 8 > end:
            return None
        size, body = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:  # a wide one
            size, body = int.from_bytes(head[8:], "big"), start + 16
        elif size == 0:  # to the end
            size = end - start
        if size < body - start:
            return None
        if head[4:8] == name:
            return body, min(start + size, end)
        start += size
    return None


def _route_mp3(handle: BinaryIO) -> Decoder:
    """Leave to libsndfile only an MP3 whose Xing/Info header holds a length it can trust.

    Without one, libsndfile guesses the length from the first frame's bit rate and drops what comes
    after it; in several MP3s joined to one, it stops after the first.
    """
    head = handle.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        # ID3v2: a size of four 7-bit bytes, without its own header of 10 bytes (and footer).
        shifts = (21, 14, 7, 0)
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], shifts, strict=True))
        start = 10 + size + (10 if head[5] & 0x10 else 0)
    handle.seek(start)
    frame = handle.read(256)
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    # The tag follows 4 bytes of header, 9, 17 or 32 of side information, and perhaps 2 of CRC.
    if not 13 <= tag <= 38 or len(frame) < tag + 16:
        return "ffmpeg"
    flags, _, stream_bytes = struct.unpack(">III", frame[tag + 4 : tag + 16])
    if flags & 3 != 3:  # no frame count or no byte count
        return "ffmpeg"
    return "ffmpeg" if _goes_on(handle, start + stream_bytes) else "soundfile"


def _goes_on(handle: BinaryIO, end: int) -> bool:
    """Tell whether another MP3 follows the one that ends at byte `end`, and not just a tag."""
    handle.seek(end)
    following = handle.read(128 + 3)
    if following[:3] == b"TAG":  # ID3v1
        end, following = end + 128, following[128:]
    frame_or_tag = following[:1] == b"\xff" or following[:3] == b"ID3"
    return frame_or_tag or _size(handle) - end > _MP3_TAGS_BYTES
