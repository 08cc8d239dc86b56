"""l1_snr of a gain, where both ratios and the level's error are known."""

import math

import pytest
import torch

from mss.metrics.l1_snr import L1SNR


@pytest.mark.parametrize("gain", [0.3, 0.9, 1.4])
def test_of_a_gain(gain: float) -> None:
    # so loud that the 1e-3 of the ratios does not matter
    reference = 100 * torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(0))
    ratio = 10 * math.log10(abs(1 - gain))
    level = 10 * math.log10(reference.square().mean().item())
    error = abs(20 * math.log10(gain))
    weight = 0.1 + (0.9 * min(1.0, error / (level + 60)) if gain < 1 else 0)
    expected = -(ratio + weight * error + 2 * ratio) / 2
    assert L1SNR()(reference, gain * reference, 44100).item() == pytest.approx(expected, rel=1e-3)


def test_the_best_score_depends_on_the_level_alone() -> None:
    square = torch.ones(1, 1, 8192)
    square[..., ::2] = -1
    for level in (1.0, 0.1):
        reference = level * square
        of_time = 10 * math.log10((level + 1e-3) / 1e-3)
        of_spectra = []
        for n_fft in (512, 1024, 2048):
            window = torch.hann_window(n_fft)
            spectra = torch.stft(
                reference[0], n_fft, n_fft // 4, window=window, return_complex=True
            )
            spectra = spectra / window.norm()
            of_spectra.append(
                sum(
                    10 * math.log10((part.abs().mean().item() + 1e-3) / 1e-3)
                    for part in (spectra.real, spectra.imag)
                )
            )
        expected = (of_time + sum(of_spectra) / 3) / 2
        assert L1SNR()(reference, reference, 44100).item() == pytest.approx(expected, rel=1e-4)


def test_a_quiet_estimate_is_worse_than_a_loud_one() -> None:
    reference = torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(0))
    quiet, loud = (L1SNR()(reference, gain * reference, 44100).item() for gain in (0.5, 1.5))
    assert quiet < loud
