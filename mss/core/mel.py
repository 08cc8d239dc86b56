"""The mel scale, and filters that are equally wide on it.

Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz at 200 / 3 Hz a mel, logarithmic above,
27 steps from 1 to 6.4 kHz. Computed in double precision with librosa's order of operations
(`librosa.filters.mel`, htk=False), since a published model's layer sizes depend on which side of a
band's edge a bin lies.
"""

import math

import torch
from torch import Tensor

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


def mel_corners(samplerate: int, count: int) -> list[float]:
    """Return count + 2 frequencies in Hz, equally spaced in mel from 0 to half the samplerate.

    Triangle b of `count` rises from corner b to b + 1 and falls to b + 2.
    """
    step = hz_to_mel(samplerate / 2) / (count + 1)
    return [mel_to_hz(index * step) for index in range(count + 2)]


def mel_filters(samplerate: int, n_fft: int, count: int) -> Tensor:
    """Return triangular filters [count, n_fft / 2 + 1] for the bins of a transform, float32.

    As `librosa.filters.mel`: a filter's height is 2 over its width in Hz, so that all have the same
    area. One that is too narrow to hold a bin is zero.
    """
    corners = torch.tensor(mel_corners(samplerate, count), dtype=torch.float64)
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * samplerate / n_fft
    rising, falling = (hz - low) / (peak - low), (high - hz) / (high - peak)
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * 2 / (high - low)).float()
