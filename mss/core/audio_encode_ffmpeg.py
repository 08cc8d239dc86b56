"""Encoding by FFmpeg, through the PyAV wheel: AAC in an MP4 file (m4a).

FFmpeg's AAC encoder starts with 1024 samples of priming and fills the last frame of 1024. An edit
list (ISO 14496-12) tells which samples were there; it counts in samples here, not in milliseconds
as FFmpeg does unless told, so a reader that honours it, ours too, gives exactly those. One that
doesn't starts 1024 samples early. The index of the frames is kept until the end: 15 MB an hour.
"""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mss.core.audio_encode import Block, FixedBlocks

_FRAME = 1024  # samples of one frame of AAC


class AacEncoder:
    """An M4A that is being written.

    Args:
        path: its name says nothing of the format.
        samplerate: Hz.
        channels: 1 or 2.
        bit_rate: bit/s.
    """

    def __init__(self, path: Path, samplerate: int, channels: int, bit_rate: int) -> None:
        self._blocks = FixedBlocks(_AacFrames(path, samplerate, channels, bit_rate), _FRAME)

    def write(self, samples: Block) -> None:
        """Append float32 samples [n, C]. Raises OSError."""
        self._blocks.write(samples)

    def close(self) -> None:
        """Write the last frame and the index. Raises OSError."""
        self._blocks.close()


class _AacFrames:
    """Takes blocks of one frame each, the last perhaps shorter."""

    def __init__(self, path: Path, samplerate: int, channels: int, bit_rate: int) -> None:
        import av

        self._samplerate = samplerate
        self._layout = "mono" if channels == 1 else "stereo"
        self._frames = 0  # samples so far
        with _as_os_error():
            # "file:" keeps a colon in the name from being taken for a protocol.
            self._container: Any = av.open(
                f"file:{path}",
                "w",
                format="ipod",
                options={"movie_timescale": str(samplerate)},
            )
            self._stream: Any = self._container.add_stream(
                "aac", rate=samplerate, layout=self._layout
            )
            self._stream.bit_rate = bit_rate

    def write(self, samples: Block) -> None:
        import av

        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout=self._layout
        )
        frame.sample_rate = self._samplerate
        frame.time_base = Fraction(1, self._samplerate)
        frame.pts = self._frames
        self._frames += len(samples)
        with _as_os_error():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with _as_os_error():
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise what FFmpeg refuses as the system's error, with its reason."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
