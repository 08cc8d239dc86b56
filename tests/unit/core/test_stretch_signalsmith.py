"""What is special to the phase vocoder: pitch by resampling, right down to the lowest bass."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from stretch_signals import RATE, cents, frequency_of, sine

from mss.core.stretch_signalsmith import SignalsmithStretcher, simple_pitch_ratio


@pytest.mark.parametrize("frequency", [41.0, 55.0])
@pytest.mark.parametrize(("semitones", "tempo"), [(2, 12.0), (-2, -12.0), (1, 0.0), (6, 100.0)])
def test_the_lowest_bass_is_within_a_cent(frequency: float, semitones: int, tempo: float) -> None:
    """The library's own change of pitch misses these by 9 to 36 cents."""
    tone = torch.from_numpy(sine(frequency, 4))[None].float()
    changed = SignalsmithStretcher()(tone, RATE, semitones, tempo)[0].double().numpy()
    found = frequency_of(changed[8820:-8820])
    assert abs(cents(found, frequency * 2 ** (semitones / 12))) < 1


@pytest.mark.parametrize("semitones", [-12, -6, -1, 0, 0.3, 1, 2, 7, 12, 0.01, -0.0042])
def test_ratios_of_pitch_are_within_half_a_cent_and_simple(semitones: float) -> None:
    """No fraction of a smaller denominator is: found by trying all of them."""
    ratio = simple_pitch_ratio(semitones)
    exact = 2 ** (semitones / 12)

    def near(fraction: Fraction) -> bool:
        return abs(1200 * np.log2(float(fraction) / exact)) < 0.5

    assert near(ratio)
    for denominator in range(1, ratio.denominator):
        below = int(exact * denominator)
        assert not any(near(Fraction(n, denominator)) for n in (below, below + 1) if n)
