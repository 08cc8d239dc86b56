"""Encoders: what turns samples into the bytes of one file, by libsndfile and FFmpeg."""

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from mss.core.audio_formats import OutputFormat, aac_bit_rate, compression_level

Block = npt.NDArray[Any]
"""Samples [n, C]: float32 of full scale 1.0, int16, or int32 whose upper 24 bits count."""

_VORBIS_BLOCK = 4096  # samples


class Encoder(Protocol):
    """A file that is being written."""

    def write(self, samples: Block) -> None:
        """Append samples [n, C]. Raises OSError or soundfile.LibsndfileError."""

    def close(self) -> None:
        """Write what is left. Raises as `write`."""


def open_encoder(
    path: Path, samplerate: int, channels: int, format: OutputFormat, wide: bool = False
) -> Encoder:
    """Open `path` for writing; the format has been checked.

    Args:
        path: its name says nothing of the format.
        samplerate: Hz.
        channels: of every block.
        format: what to write.
        wide: RF64 in place of WAV.
    """
    if format.container == "M4A":
        from mss.core.audio_encode_ffmpeg import AacEncoder

        return AacEncoder(path, samplerate, channels, aac_bit_rate(format, samplerate, channels))
    level = compression_level(format, samplerate, channels)
    encoder: Encoder = soundfile.SoundFile(
        os.fspath(path),
        "w",
        samplerate=samplerate,
        channels=channels,
        format="RF64" if wide else format.container,
        subtype=format.subtype,
        compression_level=level,
        bitrate_mode="CONSTANT" if format.container == "MP3" else None,
    )
    # libvorbis looks ahead as far as it has samples, so the size of the blocks would be heard in
    # the first of them; and libsndfile puts one block on the stack, where a large one crashes.
    return FixedBlocks(encoder, _VORBIS_BLOCK) if format.subtype == "VORBIS" else encoder


class FixedBlocks:
    """Hands samples on in blocks of one size, but for the last: the same blocks however fed.

    Args:
        encoder: takes the blocks.
        size: samples of one.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self._encoder = encoder
        self._size = size
        self._kept: list[Block] = []
        self._held = 0

    def write(self, samples: Block) -> None:
        """Append samples [n, C]."""
        self._kept.append(samples)
        self._held += len(samples)
        if self._held < self._size:
            return
        joined = np.concatenate(self._kept)
        whole = self._held - self._held % self._size
        for first in range(0, whole, self._size):
            self._encoder.write(joined[first : first + self._size])
        self._kept, self._held = [joined[whole:]], self._held - whole

    def close(self) -> None:
        """Hand on the rest and close."""
        try:
            if self._held:
                self._encoder.write(np.concatenate(self._kept))
        finally:
            self._kept, self._held = [], 0
            self._encoder.close()
