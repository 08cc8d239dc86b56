"""Overlapping bands that are equally wide on the mel scale.

Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz at 200 / 3 Hz a mel, logarithmic above,
27 steps from 1 to 6.4 kHz. Computed in double precision with librosa's order of operations
(`librosa.filters.mel`, htk=False), since a published model's layer sizes depend on which side of a
band's edge a bin lies.
"""

import math

_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(frequency: float) -> float:
    """Return the mel value of a frequency in Hz."""
    if frequency < _LOG_START_HZ:
        return frequency / _HZ_PER_MEL
    return _LOG_START_MEL + math.log(frequency / _LOG_START_HZ) / _LOG_STEP


def mel_to_hz(mel: float) -> float:
    """Return the frequency in Hz of a mel value."""
    if mel < _LOG_START_MEL:
        return mel * _HZ_PER_MEL
    return _LOG_START_HZ * math.exp(_LOG_STEP * (mel - _LOG_START_MEL))


def mel_bands(samplerate: int, n_fft: int, count: int) -> list[tuple[int, int]]:
    """Return the bins in which each filter of a triangular mel filterbank is positive.

    With corners m_0 .. m_(count + 1) equally spaced from 0 Hz to half the samplerate, filter b
    rises from m_b to m_(b + 1) and falls to m_(b + 2). The lowest band also takes the bin at 0 Hz
    and the highest the last one, where the triangles are zero, so that together they cover all
    bins; none lies in more than two.

    Args:
        samplerate: Hz.
        n_fft: length of the transform, samples.
        count: bands.

    Returns:
        First bin and the one after the last, of each band; equal where the band is too narrow to
        hold a bin.
    """
    bins = n_fft // 2 + 1
    step = hz_to_mel(samplerate / 2) / (count + 1)
    corners = [mel_to_hz(index * step) for index in range(count + 2)]
    frequencies = [index * samplerate / n_fft for index in range(bins)]
    bands = []
    for low, high in zip(corners, corners[2:], strict=False):
        inside = [index for index, hz in enumerate(frequencies) if low < hz < high]
        bands.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    first, last = bands[0], bands[-1]
    bands[0] = (0, max(first[1], 1))
    bands[-1] = (bands[-1][0] if last[1] else bins - 1, bins)
    return bands
