"""Disguising recordings, so that a separator can't recognise what it was trained on.

A model that has learned a noisy song by heart gives its wrong labels back. The winner of the
label-noise board of the Sound Demixing Challenge 2023 had each stem judged half an octave higher
and twice as fast, in which guise no song was in the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.stretch_signalsmith import SignalsmithStretcher

Disguise = Callable[[Tensor, int], Tensor]
"""([C, T], samplerate in Hz) -> [C, T'] of the same sample rate."""


@dataclass(frozen=True)
class PitchTempo:
    """Changes pitch and tempo, by one backend on every machine, so that margins can be compared.

    Attributes:
        semitones: up (below 0: down).
        tempo: of the result, as a multiple; 2 gives half the length.
    """

    semitones: float = 6.0
    tempo: float = 2.0

    def __post_init__(self) -> None:
        if not -24 <= self.semitones <= 24:
            raise ConfigError(f"--semitones: {self.semitones}; give -24 to 24")
        if not 0.25 <= self.tempo <= 4:
            raise ConfigError(f"--tempo: {self.tempo}; give 0.25 to 4")

    def __call__(self, audio: Tensor, samplerate: int) -> Tensor:
        """Return [C, T / tempo] float32; with 0 semitones and tempo 1 the audio itself.

        Raises:
            ConfigError: python-stretch is not installed.
        """
        if self.semitones == 0 and self.tempo == 1:
            return audio
        stretch = SignalsmithStretcher()
        percent = 100 * (self.tempo - 1)
        pairs = torch.split(audio, 2)  # of channels: it takes two at most
        return torch.cat([stretch(pair, samplerate, self.semitones, percent) for pair in pairs])
