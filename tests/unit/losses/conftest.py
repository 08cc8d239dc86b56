"""A batch to compare losses on, and a second implementation of the STFT."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio_stub import torchaudio_stub

from mss.core.types import Estimate, Target

MakeExample = Callable[..., tuple[Estimate, Target]]


@pytest.fixture
def make_example() -> MakeExample:
    """Return the function that makes estimate and target, of which all is known."""

    def make(
        items: int = 4, sources: int = 3, channels: int = 2, length: int = 3000
    ) -> tuple[Estimate, Target]:
        generator = torch.Generator().manual_seed(0)
        shape = (items, sources, channels, length)
        references = 0.1 * torch.randn(shape, generator=generator)
        wave = 0.7 * references + 0.03 * torch.randn(shape, generator=generator)
        rest = 0.05 * torch.randn(shape[0], *shape[2:], generator=generator)  # of no source
        target = Target(references, torch.ones(shape[:2]), references.sum(dim=1) + rest)
        return Estimate(wave), target

    return make


@pytest.fixture(name="torchaudio_stub")
def fixture_torchaudio_stub() -> Iterator[None]:
    """See torchaudio_stub."""
    with torchaudio_stub():
        yield


@pytest.fixture(scope="session")
def numpy_stft() -> Callable[[Tensor, int, int], np.ndarray]:
    """Return an STFT of [..., T] in float64: centred by reflection, Hann, unscaled; [..., F, N]."""

    def stft(wave: Tensor, nfft: int, nhop: int) -> np.ndarray:
        samples = wave.detach().double().numpy()
        edges = [(0, 0)] * (samples.ndim - 1) + [(nfft // 2, nfft // 2)]
        padded = np.pad(samples, edges, mode="reflect")
        frames = 1 + samples.shape[-1] // nhop
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(nfft) / nfft)
        columns = [padded[..., n * nhop : n * nhop + nfft] * window for n in range(frames)]
        return np.stack([np.fft.rfft(column) for column in columns], axis=-1)

    return stft
