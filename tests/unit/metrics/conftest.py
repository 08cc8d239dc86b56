"""Songs to score, and what torch-log-wmse wants."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torchaudio_stub import torchaudio_stub

MakeSong = Callable[..., Tensor]


@pytest.fixture
def make_song() -> MakeSong:
    """Return the function that makes sources [S, C, T]: bursts of noise that falls by 6 dB/octave.

    Real stems, like these, have pauses and little at high frequencies.
    """

    def make(sources: int = 2, channels: int = 2, length: int = 12000, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(sources, channels, length, generator=generator)
        brown = noise.cumsum(dim=-1) - noise.cumsum(dim=-1).mean(dim=-1, keepdim=True)
        bursts = torch.sin(torch.arange(length) / 700).clamp_min(0)
        return 0.1 * brown / brown.std() * bursts

    return make


@pytest.fixture(name="torchaudio_stub")
def fixture_torchaudio_stub() -> Iterator[None]:
    """See torchaudio_stub."""
    with torchaudio_stub():
        yield
