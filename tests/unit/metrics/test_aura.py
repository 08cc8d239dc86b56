"""MSST's auraloss scores: of a gain in closed form, and without the packages."""

import math
import sys

import numpy as np
import pytest
import scipy.signal
import torch

from mss.core.errors import ConfigError
from mss.metrics import aura
from mss.metrics.aura import AuraMRSTFT, AuraSTFT
from mss.metrics.base import make_metrics


@pytest.mark.parametrize("gain", [0.5, 2.0])
@pytest.mark.parametrize("metric", [AuraSTFT(), AuraMRSTFT()])
def test_of_a_gain(metric: AuraSTFT | AuraMRSTFT, gain: float) -> None:
    """The convergence is relative to the estimate: halving is worse than doubling."""
    reference = torch.randn(1, 2, 9000, generator=torch.Generator().manual_seed(0))
    distance = abs(gain - 1) / gain + abs(math.log(gain))
    expected = 100 / (1 + 10 * distance)
    assert metric(reference, gain * reference, 44100).item() == pytest.approx(expected, rel=1e-4)


def test_the_filter_is_centred_and_keeps_the_length() -> None:
    taps = aura._a_weighting(44100)
    assert len(taps) == 101
    torch.testing.assert_close(taps, taps.flip(0), rtol=0, atol=1e-6)
    audio = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    expected = [np.convolve(row, taps.numpy(), mode="same") for row in audio.numpy()]
    torch.testing.assert_close(
        aura._filter(audio, taps), torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-5
    )


def test_the_filter_is_an_a_weighting_of_the_songs_samplerate() -> None:
    # IEC 61672: 0 dB at 1 kHz, -19.1 at 100 Hz; a filter of 101 taps comes near to it
    for samplerate in (22050, 44100):
        _, response = scipy.signal.freqz(aura._a_weighting(samplerate), worN=[1000], fs=samplerate)
        assert 20 * np.log10(np.abs(response[0])) == pytest.approx(0, abs=0.5)
    assert not torch.equal(aura._a_weighting(22050), aura._a_weighting(44100))


@pytest.mark.parametrize("missing", ["auraloss.perceptual", "scipy.signal"])
def test_without_the_package_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aura._a_weighting.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"test\.metrics\.aura_mrstft: .*pip install"):
        make_metrics({"aura_mrstft": {}})
    make_metrics({"aura_stft": {}})
