"""Songs whose stems lie in bands of their own, and a separator that tells bands apart.

The bands are far enough from one another to stay apart half an octave higher, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate

RATE = 8000
STEMS = ("drums", "bass", "vocals")
BANDS = {"bass": (100, 140), "drums": (300, 420), "vocals": (900, 1200)}  # Hz
EDGES = {"bass": (0, 250), "drums": (250, 750), "vocals": (750, RATE)}  # Hz


def band_noise(stem: str, frames: int, seed: int) -> np.ndarray:
    """Return noise [T] of a stem's band, of RMS 0.05."""
    generator = np.random.default_rng((seed, STEMS.index(stem)))
    frequencies = np.fft.rfftfreq(frames, 1 / RATE)
    low, high = BANDS[stem]
    inside = (frequencies >= low) & (frequencies <= high)
    spectrum = np.where(inside, np.exp(2j * np.pi * generator.random(len(frequencies))), 0)
    wave = np.fft.irfft(spectrum, frames)
    return 0.05 * wave / np.sqrt(np.mean(wave**2))


def write_songs(root: Path, songs: int, seconds: float = 2.0) -> Path:
    """Write ROOT/train/song NN with stems of 32 bits and no mixture; return ROOT."""
    for index in range(songs):
        folder = root / "train" / f"song {index:02d}"
        folder.mkdir(parents=True)
        for stem in STEMS:
            wave = band_noise(stem, int(seconds * RATE), index)
            soundfile.write(folder / f"{stem}.wav", wave, RATE, subtype="FLOAT")
    return root


def separate_bands(mix: Tensor, sources: tuple[str, ...] = STEMS) -> Tensor:
    """Separate [..., C, T] into [..., S, C, T] by the edges between the bands."""
    spectrum = torch.fft.rfft(mix.double())
    frequencies = torch.fft.rfftfreq(mix.shape[-1], 1 / RATE)
    masks = [(frequencies >= EDGES[s][0]) & (frequencies < EDGES[s][1]) for s in sources]
    parts = torch.stack([spectrum * mask for mask in masks], dim=-3)
    return torch.fft.irfft(parts, mix.shape[-1]).to(mix)


class BandSplitter(Separator):
    """`separate_bands` as a model; its one weight is a gain of 1."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gain = torch.nn.Parameter(torch.ones(1))

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.gain * separate_bands(inputs[0], self.spec.sources),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        del features
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> BandSplitter:
        return cls(SeparatorConfig(), spec)
