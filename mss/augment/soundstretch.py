"""Pitch and tempo of an item's stems, as Demucs changes them in its loader.

Facts of that recipe (facebookresearch/demucs, MIT): a fifth of the items; whole semitones, each as
likely, within 2; tempo normally distributed about no change with 5 % and limited to 12 %; the
program soundstretch, with its setting for speech for the vocals. Its output begins with the first
sample of the item and is cut to 88 % of it; here to what the fastest tempo leaves (1 / 1.12), and
some context on both sides is read that the cut takes away again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mss.augment.batch import Probability
from mss.augment.loader import LoaderAugment, LoaderAugmentConfig
from mss.core.errors import ConfigError
from mss.core.stretch_choice import Backend, choose_stretcher
from mss.core.types import AudioSpec

logger = logging.getLogger(__name__)

_CONTEXT = Fraction(1, 10)
"""Seconds on both sides of a segment in which a backend hears that the audio begins and ends."""


@dataclass(frozen=True)
class SoundStretchConfig(LoaderAugmentConfig):
    """Keys of SoundStretch; `proba` is that of an item.

    Attributes:
        max_pitch: semitones, up and down.
        max_tempo: percent, faster and slower.
        tempo_std: percent, of the normal distribution that max_tempo limits.
        same: one draw for all the stems of an item, which keeps them in tune and in time.
        vocals: names of the stems that are voices; soundstretch has a setting for those.
        backend: "soundstretch" (the program), "python-stretch" (in process) or "auto": the first
            of them that is installed. They give different audio.
    """

    proba: Probability = 0.2
    max_pitch: Annotated[int, Field(ge=0, le=12)] = 2
    max_tempo: Annotated[float, Field(ge=0, le=50)] = 12.0
    tempo_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    same: bool = True
    vocals: tuple[str, ...] = ("vocals",)
    backend: Backend = "auto"


@dataclass(frozen=True)
class PitchTempo:
    """What is done to a stem.

    Attributes:
        semitones: by which its pitch rises.
        tempo: percent by which it gets faster.
    """

    semitones: int
    tempo: float


class SoundStretch(LoaderAugment):
    """Change pitch and tempo of an item's stems.

    Sample n of the output is sample n * (1 + tempo / 100) of the input, counted from the context
    (0.1 s) before a segment. An item that is left alone is cut at the same place.

    Raises:
        ConfigError: more than two channels, which the backends can't keep in phase; or no backend.
    """

    Config = SoundStretchConfig
    name = "soundstretch"

    def __init__(self, config: SoundStretchConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        if spec.channels > 2:
            raise ConfigError(
                "augment.loader.soundstretch: stretches mono and stereo, but there are"
                f" {spec.channels} channels; set augment.loader.soundstretch.proba=0"
            )
        self.stretcher = choose_stretcher(
            config.backend, where="augment.loader.soundstretch.backend"
        )
        self.backend = self.stretcher.name
        self.context = spec.frames(_CONTEXT)
        logger.info(
            "augment.loader.soundstretch: %s %s changes pitch and tempo",
            self.backend,
            self.stretcher.version,
        )

    def input_frames(self, frames: int) -> int:
        fastest = 1 + Fraction(str(self.config.max_tempo)) / 100
        return math.ceil(frames * fastest) + 2 * self.context

    def __call__(
        self, stems: Tensor, names: Sequence[str], frames: int, generator: np.random.Generator
    ) -> Tensor:
        acts = generator.random() < self.config.proba
        # drawn in any case, so that what another augmentation draws next does not depend on it
        changes = [self.draw(generator) for _ in range(1 if self.config.same else len(stems))]
        if not acts:
            return stems[..., self.context : self.context + frames]
        if self.config.same:
            changes *= len(stems)
        return torch.stack(
            [
                self._changed(stem, change, frames, speech=name in self.config.vocals)
                for stem, name, change in zip(stems, names, changes, strict=True)
            ]
        )

    def draw(self, generator: np.random.Generator) -> PitchTempo:
        """Return what is done to an item or a stem."""
        limit = self.config.max_tempo
        semitones = generator.integers(-self.config.max_pitch, self.config.max_pitch, endpoint=True)
        tempo = np.clip(generator.normal(0, self.config.tempo_std), -limit, limit)
        return PitchTempo(int(semitones), float(tempo))

    def _changed(self, stem: Tensor, change: PitchTempo, frames: int, speech: bool) -> Tensor:
        """Map a stem [C, T] to [C, frames]."""
        rate = 1 + change.tempo / 100
        needed = min(stem.shape[-1], math.ceil(frames * rate) + 2 * self.context)
        changed = self.stretcher(
            stem[:, :needed], self.spec.samplerate, change.semitones, change.tempo, speech
        )
        first = round(self.context / rate)
        return changed[:, first : first + frames]
