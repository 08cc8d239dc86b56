"""Songs in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

RATE = 1000


@dataclass
class Song:
    """A Track of given waves [C, T]."""

    name: str
    waves: dict[str, Tensor]
    mixture: Tensor | None = None
    samplerate: int = RATE
    reads: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        return next(iter(self.waves.values())).shape[-1]

    @property
    def channels(self) -> int:
        return next(iter(self.waves.values())).shape[0]

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.waves)

    @property
    def has_mixture(self) -> bool:
        return self.mixture is not None

    def read(self, stem: str, start: int = 0, frames: int | None = None) -> Tensor:
        self.reads.append(stem)
        wave = self.mixture if stem == "mixture" else self.waves[stem]
        assert wave is not None
        return wave[:, start : None if frames is None else start + frames].clone()


MakeSong = Callable[..., Song]


@pytest.fixture
def make_song() -> MakeSong:
    """Return make_song(name, seed, silent): three seconds of noise in four stereo stems."""

    def make(name: str = "song", seed: int = 0, silent: tuple[str, ...] = ()) -> Song:
        generator = torch.Generator().manual_seed(seed)
        waves = {
            stem: 0.1 * torch.randn(2, 3 * RATE, generator=generator)
            for stem in ("drums", "bass", "other", "vocals")
        }
        for stem in silent:
            waves[stem].zero_()
        return Song(name, waves)

    return make
