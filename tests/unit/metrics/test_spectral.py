"""l1_freq and the multi-resolution STFT distance against their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mss.metrics.spectral import MRSTFT, L1Freq, out_of_hundred


def noise(length: int = 9000, seed: int = 0) -> Tensor:
    """White noise [1, 2, T], everywhere far above the floor."""
    return torch.randn(1, 2, length, generator=torch.Generator().manual_seed(seed))


def spectrogram(audio: Tensor, n_fft: int, hop: int, window: np.ndarray) -> np.ndarray:
    """Return magnitudes [C, N, F] of audio [1, C, T] in float64, centred by reflection."""
    padded = np.pad(audio[0].double().numpy(), [(0, 0), (n_fft // 2, n_fft // 2)], mode="reflect")
    starts = range(0, audio.shape[-1] + 1, hop)
    return np.abs(
        np.stack([np.fft.rfft(padded[:, s : s + n_fft] * window) for s in starts], axis=1)
    )


def test_l1_freq_is_the_mean_difference_of_magnitudes() -> None:
    reference, estimate = 0.1 * noise(), 0.1 * noise(seed=1)
    rectangular = np.ones(2048)
    ours, theirs = (spectrogram(x, 2048, 1024, rectangular) for x in (estimate, reference))
    expected = 100 / (1 + 10 * np.abs(ours - theirs).mean())
    assert L1Freq()(reference, estimate, 44100).item() == pytest.approx(expected, rel=1e-5)


def test_mrstft_is_convergence_plus_logarithms() -> None:
    reference, estimate = noise(), noise(seed=1)
    distances = []
    for n_fft in (2048, 1024, 512):
        hann = np.hanning(n_fft + 1)[:-1]
        ours, theirs = (spectrogram(x, n_fft, n_fft // 4, hann) for x in (estimate, reference))
        convergence = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        distances.append(convergence + np.abs(np.log(ours / theirs)).mean())
    assert MRSTFT()(reference, estimate, 44100).item() == pytest.approx(
        np.mean(distances), rel=1e-5
    )


@pytest.mark.parametrize("gain", [0.5, 2.0, -3.0])
def test_mrstft_of_a_gain(gain: float) -> None:
    """The convergence is relative to the reference; signs and phases do not count."""
    expected = abs(abs(gain) - 1) + abs(math.log(abs(gain)))
    assert MRSTFT()(noise(), gain * noise(), 44100).item() == pytest.approx(expected, rel=1e-5)


def test_mrstft_of_a_silent_estimate_is_measured_to_the_floor() -> None:
    # |E| counts as 1e-4, everywhere below a tone's spectrum in the bins it fills
    reference = noise()
    hann = np.hanning(513)[:-1]
    single = MRSTFT()
    single._stfts = single._stfts[-1:]  # 512
    theirs = spectrogram(reference, 512, 128, hann)
    expected = 1 + np.log(theirs / 1e-4).mean()
    got = single(reference, torch.zeros_like(reference), 44100).item()
    assert got == pytest.approx(expected, rel=1e-4)


def test_scores_of_a_hundred() -> None:
    assert out_of_hundred(torch.tensor([0.0, 0.1, 0.9])).tolist() == pytest.approx([100, 50, 10])
