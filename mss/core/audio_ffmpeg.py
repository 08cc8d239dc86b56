"""Decoding by FFmpeg, through the PyAV wheel: what libsndfile can't read (m4a, mp4, video, ...).

Delays: FFmpeg drops the encoder's priming samples where the file tells them (an MP4 edit list, the
LAME tag of an MP3, Opus pre-skip), so sample 0 is the first that was encoded. The padding of the
last frame is dropped for MP3 and Opus, and for an MP4 whose edit list counts in samples, as ours
do; it stays (up to 1023 samples of AAC) where the length is held in milliseconds, as is often so:
cutting to that would lose samples. Gaps between time stamps are not filled. Decoding always starts
at the first sample: seeking in these formats is not exact to the sample.
"""

import contextlib
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mss.core.audio_headers import AudioInfo, mp4_timescale, truncated
from mss.core.errors import DataError

Samples = npt.NDArray[np.float32]

# An MP4's declared duration exceeds what is decoded by less than a frame of AAC (2048 samples with
# SBR), where nothing is missing.
_MP4_TOLERANCE = 2048  # samples

_MP4_MAX_PRIMING = 16384  # samples; FFmpeg's limit, too


def probe(path: Path, stream: int = 0) -> AudioInfo:
    """Return what is known of audio stream `stream` of `path`, from its first decoded frame.

    The first frame tells, not the container: that may hold half the rate (HE-AAC).

    Raises:
        DataError: not a media file, no such audio stream, nothing decodable.
    """
    with _opened(path) as container:
        selected = _select(path, container, stream)
        frame = next(_frames(path, container, selected), None)
        # An empty stream decodes to no frame; then what the container says has to do.
        samplerate = frame.sample_rate if frame is not None else selected.rate
        channels = frame.layout.nb_channels if frame is not None else selected.channels
        if not samplerate or not channels:
            raise DataError(
                f"{path}: audio stream {stream} can't be decoded. Convert it:"
                " `ffmpeg -i FILE FILE.wav`."
            )
        return AudioInfo(
            path=path,
            samplerate=samplerate,
            channels=channels,
            frames=_declared_frames(container, selected, samplerate),
            exact=False,
            format=f"{container.format.name.split(',')[0]} {selected.codec_context.name}",
            decoder="ffmpeg",
            stream=stream,
        )


def metadata(path: Path) -> dict[str, str]:
    """Return what FFmpeg knows of a file, by its names in lower case, such as "album_artist".

    Raises:
        DataError: not a media file.
    """
    with _opened(path) as container:
        found: dict[str, str] = {}
        for holder in (*container.streams.audio[:1], container):
            found |= {_text(key).lower(): _text(text) for key, text in holder.metadata.items()}
    return found


def _text(escaped: str) -> str:
    """Return text whose bytes were not UTF-8 as Windows' western European one, as most of it is."""
    found = escaped.encode("utf-8", "surrogateescape")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError:
        return found.decode("cp1252", "replace")


def decode(info: AudioInfo) -> Generator[Samples, None, None]:
    """Yield the samples of a probed file, a codec frame at a time.

    Shape:
        - yields: `[C, n]` float32, full scale 1.0; integers are scaled by a power of 2, exactly

    Raises:
        DataError: damaged, truncated, or the sample rate or the channels change on the way.
    """
    path = info.path
    with _opened(path) as container:
        selected = _select(path, container, info.stream)
        is_mp4 = "mp4" in container.format.name
        declared = _declared_frames(container, selected, info.samplerate) if is_mp4 else None
        end = declared if _counts_samples(path, selected, info.samplerate) else None
        decoded = 0
        for frame in _frames(path, container, selected):
            found = (frame.sample_rate, frame.layout.nb_channels)
            if found != (info.samplerate, info.channels):
                raise DataError(
                    f"{path}: the audio changes at sample {decoded} from {info.samplerate} Hz,"
                    f" {info.channels} channels to {found[0]} Hz, {found[1]} channels. Convert it"
                    " to one format first: `ffmpeg -i FILE FILE.wav`."
                )
            samples = _to_float(frame)
            if end is not None:
                samples = samples[:, : max(0, end - decoded)]
            if samples.shape[1]:
                yield samples
            decoded += frame.samples
        if declared is not None and decoded < declared - _MP4_TOLERANCE:
            raise truncated(path, f"{declared} frames", f"{decoded} were found")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open `path`, and nothing that it may point to (play lists name other files and addresses)."""
    import av

    try:
        container = av.open(
            f"file:{path}",  # "file:" keeps a colon in the name from being taken for a protocol
            options={"protocol_whitelist": "file"},
            metadata_errors="surrogateescape",  # metadata in any encoding, or damaged
        )
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: neither libsndfile nor FFmpeg can open it ({error.strerror}). Is it an audio"
            " file, and whole?"
        ) from error
    with container:
        yield container


def _select(path: Path, container: Any, stream: int) -> Any:
    """Return the audio stream of an index."""
    count = len(container.streams.audio)
    if count == 0:
        raise DataError(f"{path}: the file has no audio stream. Choose a file with sound.")
    if not 0 <= stream < count:
        raise DataError(f"{path}: no audio stream {stream}: there are {count}, counted from 0.")
    return container.streams.audio[stream]


def _frames(path: Path, container: Any, selected: Any) -> Iterator[Any]:
    """Yield the decoded frames of a stream; a damaged packet is an error, not a gap."""
    import av

    # An MP4 knows the size of every packet; in raw streams the last one is short and marked, too.
    knows_sizes = "mp4" in container.format.name
    seconds = 0.0
    try:
        for packet in container.demux(selected):
            if packet.is_corrupt and knows_sizes:
                raise DataError(_damaged(path, seconds, "a packet is cut off"))
            for frame in packet.decode():
                if frame.samples:
                    yield frame
                    seconds += frame.samples / frame.sample_rate
    except av.error.FFmpegError as error:
        raise DataError(_damaged(path, seconds, str(error.strerror))) from error


def _damaged(path: Path, seconds: float, fault: str) -> str:
    return (
        f"{path}: damaged or truncated after {seconds:.2f} s ({fault}). Copy or export it again;"
        " `ffmpeg -i BROKEN GOOD.wav` keeps what can be read."
    )


def _declared_frames(container: Any, selected: Any, samplerate: int) -> int | None:
    """Return the declared length in samples, rounded; None where there is none."""
    if selected.duration is not None and selected.time_base is not None:
        duration = selected.duration
        # Apple's encoders tell the priming in a tag, and count it in the length all the same.
        if "mp4" in container.format.name and 0 < (selected.start_time or 0) < _MP4_MAX_PRIMING:
            duration -= selected.start_time
        seconds = Fraction(duration) * Fraction(selected.time_base)
    elif container.duration is not None:  # microseconds, of the longest stream
        seconds = Fraction(container.duration, 1_000_000)
    else:
        return None
    return round(seconds * samplerate)


def _counts_samples(path: Path, selected: Any, samplerate: int) -> bool:
    """Tell whether a stream's length is exact: held by an MP4, in samples, from the first one."""
    ticks = Fraction(1, samplerate)
    return (
        selected.time_base == ticks
        and not selected.start_time
        and mp4_timescale(path) == samplerate
    )


def _to_float(frame: Any) -> Samples:
    """Convert a frame to `[C, n]` float32 of full scale 1.0."""
    samples = frame.to_ndarray()  # planar [C, n], or packed [1, n * C]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "u":  # 8 bits, offset binary
        return np.ascontiguousarray((samples.astype(np.float32) - 128) / 128)
    if samples.dtype.kind == "i":
        scale = 2.0 ** (1 - 8 * samples.dtype.itemsize)
        return np.ascontiguousarray(samples * scale, dtype=np.float32)
    return np.ascontiguousarray(samples, dtype=np.float32)
