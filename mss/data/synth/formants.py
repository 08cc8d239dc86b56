"""Vowels: a sung-like spectrum for a bright instrument, by the resonances of a vocal tract.

Sampled choirs sing one vowel; a singer changes it with every note. The voice of a song is a sampled
choir or voice and, under it, a bright instrument in unison that is shaped here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Mean formants F1, F2, F3 of men's vowels in Hz (Peterson and Barney, "Control methods used in a
# study of the vowels", JASA 24, 1952); women's lie about 17 % higher.
FORMANTS: dict[str, tuple[float, float, float]] = {
    "a": (730.0, 1090.0, 2440.0),
    "e": (530.0, 1840.0, 2480.0),
    "i": (270.0, 2290.0, 3010.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (300.0, 870.0, 2240.0),
}
VOWELS = tuple(FORMANTS)
_BANDWIDTHS = (90.0, 120.0, 170.0)  # Hz, of the magnitude's resonance curve
_LEVELS = (1.0, 0.6, 0.35)
_FLOOR = 0.02  # what passes between the resonances
_WINDOW, _HOP = 2048, 512
_GLIDE_SECONDS = 0.06


@dataclass(frozen=True)
class Vowel:
    """A vowel that begins at `time` seconds and lasts until the next one begins."""

    time: float
    name: str


def vowel_response(name: str, frequencies: np.ndarray, size: float) -> np.ndarray:
    """Return the magnitude response of a vowel at `frequencies` (Hz), any shape, about 1 at F1.

    Args:
        size: factor on the formants: 1 for a man's vocal tract, 1.17 for a woman's.
    """
    response = np.full_like(frequencies, _FLOOR, dtype=np.float64)
    for formant, bandwidth, level in zip(FORMANTS[name], _BANDWIDTHS, _LEVELS, strict=True):
        offset = (frequencies - formant * size) / bandwidth
        response += level / np.sqrt(1 + np.square(offset))
    return response


def sing_vowels(
    wave: np.ndarray, samplerate: int, vowels: Sequence[Vowel], size: float
) -> np.ndarray:
    """Shape a wave by vowels that glide into each other.

    Multiplies the short-time Fourier transform (square-root Hann windows for analysis and
    synthesis, a quarter of the window as hop) by the response of the vowel at each frame's centre.

    Args:
        wave: [frames, channels]; the channels are averaged.
        vowels: in the order of their times, at least one; before the first it sounds already.

    Returns:
        [frames, 1]
    """
    mono = wave.mean(axis=1)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW))
    padded = np.pad(mono, (_WINDOW, _WINDOW + _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]  # [N, window]
    spectrum = np.fft.rfft(frames * window, axis=1)  # [N, F]

    frequencies = np.fft.rfftfreq(_WINDOW, 1 / samplerate)
    responses = np.stack(
        [vowel_response(name, frequencies, size) for name in VOWELS]
    )  # [vowels, F]
    centres = (np.arange(len(frames)) * _HOP - _WINDOW / 2) / samplerate
    shaped = np.fft.irfft(spectrum * (_weights(centres, vowels) @ responses), axis=1) * window

    result = np.zeros(len(padded))
    for phase in range(_WINDOW // _HOP):  # frames of one phase do not overlap
        group = shaped[phase :: _WINDOW // _HOP].reshape(-1)
        start = phase * _HOP
        result[start : start + len(group)] += group
    # Squared windows at a quarter hop add up to 2.
    return 0.5 * result[_WINDOW : _WINDOW + len(mono), None]


def _weights(times: np.ndarray, vowels: Sequence[Vowel]) -> np.ndarray:
    """Return how much of each vowel sounds at each time, [times, vowels]; rows add up to 1."""
    starts = np.array([vowel.time for vowel in vowels])
    numbers = np.array([VOWELS.index(vowel.name) for vowel in vowels])
    current = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, None)
    previous = np.clip(current - 1, 0, None)
    into = np.clip((times - starts[current]) / _GLIDE_SECONDS, 0, 1)
    into[current == 0] = 1
    rows = np.arange(len(times))
    weights = np.zeros((len(times), len(VOWELS)))
    weights[rows, numbers[current]] += into
    weights[rows, numbers[previous]] += 1 - into
    return weights
