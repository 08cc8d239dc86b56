"""python-stretch: Signalsmith Stretch, a phase vocoder, in this process and in floating point.

Its windows are 120 ms long, every 30 ms. Its own change of pitch moves peaks of a spectrum of bins
8 Hz wide: two semitones up, 41 Hz became 36 cents too high, 110 Hz 8. So it only changes the
duration, for which it keeps every frequency, and the pitch comes from resampling, as in SoundTouch:
less than a cent off anywhere, at the same cost. It has no setting for voices.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from mss.core.audio import resample
from mss.core.errors import ConfigError
from mss.core.stretch import Samples, Stretcher

INSTALL = "pip install python-stretch"

_CENTS = 0.5
"""By which a ratio of pitches may be missed, for the sake of a resampling filter of few phases."""


class SignalsmithStretcher(Stretcher):
    """The package python-stretch.

    Raises:
        ConfigError: it can't be imported.
    """

    name = "python-stretch"

    def __init__(self) -> None:
        _engine_class()

    @property
    def version(self) -> str:
        return version(self.name)

    def _stretch(
        self, samples: Samples, samplerate: int, semitones: float, tempo: float, speech: bool
    ) -> Samples:
        pitch = simple_pitch_ratio(semitones)
        # without a seed its random phases (beyond twice the length) would come from the system
        engine = _engine_class()(0)
        engine.preset(len(samples), samplerate)
        engine.setTimeFactor((1 + tempo / 100) / float(pitch))
        longer = torch.from_numpy(np.asarray(engine.process(samples), dtype=np.float32))
        return resample(longer, pitch.numerator, pitch.denominator).numpy()


def simple_pitch_ratio(semitones: float) -> Fraction:
    """Return the ratio of frequencies with the least denominator within half a cent.

    >>> simple_pitch_ratio(12), simple_pitch_ratio(2)
    (Fraction(2, 1), Fraction(55, 49))
    """
    exact = 2 ** (semitones / 12)
    for denominator in itertools.count(1):  # at 1 / (2 * cent * exact) = 1731 / exact at the latest
        ratio = Fraction(round(exact * denominator), denominator)
        if ratio and abs(1200 * math.log2(ratio / exact)) < _CENTS:
            return ratio
    raise AssertionError


def _engine_class() -> Any:
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        raise ConfigError(
            f"the package python-stretch can't be imported ({error}); {INSTALL}"
        ) from error
    return Signalsmith.Stretch
