"""From a song to four stems and their sum, in 16-bit samples."""

import functools
import importlib.util
import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from mss.core.errors import ConfigError
from mss.data.synth.formants import sing_vowels
from mss.data.synth.midi import DEFAULT_VOLUME, MISSING, part_midi
from mss.data.synth.score import SAMPLERATE, STEMS, Balance, Part, Song

SOUNDFONT = "TimGM6mb.sf2"
RENDERER_SAMPLERATE = 48000  # fixed in midirenderer
PEAK = 10 ** (-1 / 20)  # -1 dBFS
FADE_SECONDS = 0.5
_FULL_SCALE = 32768
_BLOCK_SECONDS = 0.25
_GATE = 10 ** (-30 / 20)  # blocks this far below the loudest one count as rests
_HIGH_PASS = (10.0, 20.0)  # Hz: nothing below, everything above
_BAND_EDGE = 0.93  # of the lower Nyquist frequency: where the resampler's roll-off begins


@functools.cache
def soundfont_bytes() -> bytes:
    """Return the General MIDI soundfont that the pretty_midi package carries.

    Raises:
        ConfigError: pretty_midi is not installed, or this version of it has no soundfont.
    """
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        raise ConfigError(f"pretty_midi is not installed; {MISSING}")
    path = Path(spec.origin).parent / SOUNDFONT
    if not path.is_file():
        raise ConfigError(f"pretty_midi has no {SOUNDFONT}; take the version of constraints.txt")
    return path.read_bytes()


def require_renderer() -> None:
    """Check that everything needed to render is installed.

    Raises:
        ConfigError: a package is not; the message says how to install it.
    """
    for package in ("mido", "midirenderer"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"{package} is not installed; {MISSING}")
    soundfont_bytes()


def render_song(song: Song) -> dict[str, np.ndarray]:
    """Render the stems and the mixture.

    All stems share one gain, so that the loudest sample of the mixture and the stems is at -1 dBFS;
    the stems are rounded to 16 bits and the mixture is their exact sum.

    Returns:
        `mixture` and the four stems: [frames, 2] int16 at 44.1 kHz.
    """
    stems = [_render_stem(song, stem) for stem in STEMS]
    peak = max(float(np.abs(wave).max()) for wave in (*stems, np.sum(stems, axis=0)))
    gain = PEAK / peak * _FULL_SCALE
    rounded: list[np.ndarray] = [np.asarray(np.rint(wave * gain), np.int16) for wave in stems]
    # 0.89 of the scale plus at most 2 steps of rounding: int16 cannot overflow.
    mixture = np.asarray(np.sum(rounded, axis=0, dtype=np.int32), np.int16)
    return dict(zip(("mixture", *STEMS), (mixture, *rounded), strict=True))


def _render_stem(song: Song, stem: str) -> np.ndarray:
    """Return a stem [frames, 2] at its level in the balance, float64, resampled and faded out."""
    total: np.ndarray | None = None
    for part in song.stem_parts(stem):
        wave = render_part(part, song)
        if part.vowels:
            wave = sing_vowels(wave, RENDERER_SAMPLERATE, part.vowels, part.tract)
        wave = wave * (10 ** (part.level / 20) / max(active_rms(wave, RENDERER_SAMPLERATE), 1e-9))
        total = wave if total is None else total + wave
    assert total is not None, (song.name, stem)
    wave = resample(total, song.frames)
    wave = _set_balance(wave, song.balance, stem)
    fade = int(FADE_SECONDS * SAMPLERATE)
    wave[-fade:] *= 0.5 * (1 + np.cos(np.linspace(0, np.pi, fade)))[:, None]
    return wave


def _set_balance(wave: np.ndarray, balance: Mapping[str, Balance], stem: str) -> np.ndarray:
    """Scale the side signal and bring the stem's active parts to its level."""
    middle = wave.mean(axis=1, keepdims=True)
    wave = middle + balance[stem].width * (wave - middle)
    return wave * (10 ** (balance[stem].level / 20) / active_rms(wave, SAMPLERATE))


def render_part(part: Part, song: Song) -> np.ndarray:
    """Render one part with the soundfont: [frames at 48 kHz, 2] float64, never clipped.

    Raises:
        ConfigError: midirenderer or pretty_midi is not installed.
    """
    require_renderer()
    import midirenderer

    # The ends of the renderer's files are rounded to its blocks: all parts are cut to one length,
    # which leaves the resampler a bit more than the song.
    frames = int((song.seconds + Fraction(1, 4)) * RENDERER_SAMPLERATE)
    volume = DEFAULT_VOLUME
    while True:
        data = midirenderer.render_wave_from(soundfont_bytes(), part_midi(part, song, volume))
        samples, samplerate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        assert samplerate == RENDERER_SAMPLERATE, samplerate
        assert len(samples) >= frames, (song.name, part.role)
        if samples.max() < _FULL_SCALE - 1 and samples.min() > -_FULL_SCALE:
            return np.asarray(samples[:frames] / _FULL_SCALE)
        # The renderer clips what is too loud for 16 bits: once more, with half the volume.
        volume //= 2
        assert volume > 0, (song.name, part.role)


def active_rms(wave: np.ndarray, samplerate: int) -> float:
    """Return the root mean square of a wave [frames, channels] over blocks that are not rests."""
    block = int(_BLOCK_SECONDS * samplerate)
    count = max(len(wave) // block, 1)
    power = np.square(wave[: count * block]).reshape(count, -1).mean(axis=1)
    active = power > power.max() * _GATE**2
    return float(np.sqrt(power[active].mean())) if active.any() else 0.0


def resample(wave: np.ndarray, frames: int) -> np.ndarray:
    """Resample a wave [n, channels] from 48 kHz to 44.1 kHz and cut it to `frames` frames.

    The discrete Fourier transform of the zero-padded wave is cut at the lower Nyquist frequency:
    the band-limited interpolation of a periodic signal, exact at 160 input for 147 output samples.
    A raised cosine over the top of the band keeps the cut from ringing; another one at 10 to 20 Hz
    takes constant offsets away.
    """
    groups = _smooth_number(-(-max(len(wave), -(-frames * 160 // 147)) // 160) + 8)
    spectrum = np.fft.rfft(wave, n=groups * 160, axis=0)
    bins = groups * 147 // 2 + 1
    spectrum = spectrum[:bins]
    edge = int(bins * _BAND_EDGE)
    slope = 0.5 * (1 + np.cos(np.linspace(0, np.pi, bins - edge)))
    spectrum[edge:] *= slope[:, None]
    # Some samples of the soundfont carry a constant offset. A recording has none, and a model that
    # is normalised by the mixture's mean would meet one mean in training and another in use.
    hertz = np.arange(bins) * (SAMPLERATE / (groups * 147))
    rise = np.clip((hertz - _HIGH_PASS[0]) / (_HIGH_PASS[1] - _HIGH_PASS[0]), 0, 1)
    spectrum *= (0.5 * (1 - np.cos(np.pi * rise)))[:, None]
    return np.fft.irfft(spectrum, n=groups * 147, axis=0)[:frames] * (147 / 160)


def _smooth_number(least: int) -> int:
    """Return the smallest number >= `least` with no prime factor above 5 (fast transforms)."""
    number = least
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 1
