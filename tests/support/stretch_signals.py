"""Signals whose pitch and tempo are known, and how both are measured again."""

import numpy as np
import numpy.typing as npt

RATE = 44100

Signal = npt.NDArray[np.float64]


def sine(frequency: float, seconds: float, level: float = 0.5) -> Signal:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


def bursts(times: npt.ArrayLike, seconds: float, level: float = 0.5) -> Signal:
    """Drum-like bursts of noise: a sharp onset at each of the times (seconds), a decay of 20 ms."""
    signal = np.zeros(round(seconds * RATE))
    age = np.arange(4410) / RATE
    generator = np.random.default_rng(0)
    for time in np.asarray(times):
        first = round(float(time) * RATE)
        burst = level * np.exp(-age / 0.02) * generator.uniform(-1, 1, len(age))
        signal[first : first + len(burst)] += burst[: len(signal) - first]
    return signal


def frequency_of(signal: Signal) -> float:
    """Return the frequency (Hz) of a sine: the peak of its spectrum, by a parabola in dB."""
    windowed = signal * np.blackman(len(signal))
    spectrum = np.log(np.abs(np.fft.rfft(windowed, 4 * len(signal))) + 1e-12)
    peak = int(spectrum.argmax())
    before, at, after = spectrum[peak - 1 : peak + 2]
    offset = 0.5 * (before - after) / (before - 2 * at + after)
    return float((peak + offset) * RATE / (4 * len(signal)))


def cents(frequency: float, expected: float) -> float:
    return float(1200 * np.log2(frequency / expected))


def onsets_of(signal: Signal, expected: npt.ArrayLike, reach: float = 0.08) -> Signal:
    """Return the times (seconds) of onsets within `reach` seconds of those that are expected.

    An onset is where the energy of the next 5 ms is the largest multiple of that of the last 20 ms.
    """
    energy = np.concatenate([[0.0], np.cumsum(signal**2)])
    times = []
    for time in np.asarray(expected):
        places = np.arange(round((time - reach) * RATE), round((time + reach) * RATE))
        before = energy[places] - energy[places - 882]
        after = energy[places + 220] - energy[places]
        times.append(places[int((after / (before + 1e-3)).argmax())] / RATE)
    return np.array(times)


def melody(seconds: float, rate: float = 1.0, semitones: float = 0.0) -> Signal:
    """Return a tune in closed form: faster by `rate` and higher by `semitones` where asked for.

    Notes of a quarter of a second, three partials each, in a raised-cosine envelope.
    """
    notes = np.array([0, 4, 7, 12, 9, 5, 2, 11])
    time = np.arange(round(seconds / rate * RATE)) / RATE
    place = time * rate / 0.25
    which = notes[place.astype(int) % len(notes)]
    pitch = 220 * 2 ** ((which + semitones) / 12)
    phase = np.cumsum(2 * np.pi * pitch / RATE)
    tone = sum(np.sin(partial * phase) / partial for partial in (1, 2, 3))
    return np.asarray(0.2 * tone * np.sin(np.pi * (place % 1)) ** 2)


def spectrogram(signal: Signal, bins: int = 300, size: int = 4096, hop: int = 1024) -> Signal:
    """Return magnitudes [bins, N] up to 3.2 kHz."""
    starts = range(0, len(signal) - size + 1, hop)
    frames = np.stack([signal[start : start + size] * np.hanning(size) for start in starts])
    return np.asarray(np.abs(np.fft.rfft(frames))[:, :bins].T)
