"""Changing pitch and tempo of a recording, each without the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mss.core.errors import DataError

Samples = npt.NDArray[np.float32]

_PEAK = 0.25
"""Of full scale: what backends hear, whatever the level of a recording. New peaks may be higher
than those before (in noise of two levels by a factor of 2), which soundstretch would cut off at
full scale; and python-stretch decides by absolute levels what is noise."""

_LENGTH_TOLERANCE = 64
"""Samples by which a backend's own rounding may miss a length; it is then cut or padded."""


def stretched_frames(frames: int, tempo: float) -> int:
    """Return how many samples become of `frames` at a tempo changed by `tempo` percent.

    >>> stretched_frames(112, tempo=12), stretched_frames(88, tempo=-12)
    (100, 100)
    """
    return round(frames / (1 + tempo / 100))


class Stretcher(ABC):
    """A program or library that changes pitch and tempo.

    Sample n of the input comes to lie at n / (1 + tempo / 100) of the output. The same input gives
    the same output in every process. Beyond its edges a recording counts as silent, which is heard
    within a tenth of a second of them (a window of analysis).

    Attributes:
        name: of the backend, as a configuration gives it.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def version(self) -> str:
        """Of the program or library."""

    def __call__(
        self,
        audio: Tensor,
        samplerate: int,
        semitones: float = 0.0,
        tempo: float = 0.0,
        speech: bool = False,
    ) -> Tensor:
        """Change a recording.

        Args:
            audio: one or two channels, of any level.
            samplerate: Hz.
            semitones: by which the pitch rises.
            tempo: percent by which it gets faster; 100 plays twice as fast.
            speech: it is a voice; a backend may treat that in another way.

        Shape:
            - audio: `[C, T]`, floating point
            - returns: `[C, stretched_frames(T, tempo)]`, of the same type and device

        Raises:
            DataError: a sample is not finite, or the backend fails.
            ConfigError: the backend is not there any more.
        """
        channels, length = audio.shape
        assert channels in (1, 2), f"{channels} channels"
        assert tempo > -100, tempo
        frames = stretched_frames(length, tempo)
        peak = float(audio.abs().max()) if length else 0.0
        if not math.isfinite(peak):
            raise DataError(
                f"{self.name}: the audio to stretch holds a NaN or an infinity; check the recording"
            )
        if peak == 0:
            return audio.new_zeros(channels, frames)
        if semitones == 0 and tempo == 0:
            return audio.clone()
        gain = _PEAK / peak
        samples = np.ascontiguousarray((audio.detach().cpu().float() * gain).numpy())
        found = torch.from_numpy(self._stretch(samples, samplerate, semitones, tempo, speech))
        excess = found.shape[-1] - frames
        if found.shape[0] != channels or abs(excess) > _LENGTH_TOLERANCE:
            raise DataError(
                f"{self.name}: gave {found.shape[0]} channels of {found.shape[-1]} samples in place"
                f" of {channels} of {frames}; install another version of it"
            )
        return F.pad(found / gain, (0, -excess)).to(audio)

    @abstractmethod
    def _stretch(
        self, samples: Samples, samplerate: int, semitones: float, tempo: float, speech: bool
    ) -> Samples:
        """Change samples [C, T] of peak 0.25; return [C, about stretched_frames(T, tempo)]."""
