"""Resampling, vowels and the balance against the maths, and a rendered song as a whole."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from mss.core.errors import ConfigError
from mss.data.synth import render
from mss.data.synth.composer import compose
from mss.data.synth.formants import FORMANTS, Vowel, sing_vowels, vowel_response
from mss.data.synth.score import STEMS, Note, Part, Song


@pytest.fixture(scope="module")
def song() -> Song:
    return compose(0, "train", 0, 4)


@pytest.fixture(scope="module")
def waves(song: Song) -> dict[str, np.ndarray]:
    return render.render_song(song)


def test_resampling_keeps_a_tone() -> None:
    """A windowed tone is band-limited, so its samples at the other rate are known exactly."""

    def tone(samplerate: int, frames: int) -> np.ndarray:
        time = np.arange(frames) / samplerate
        envelope = np.exp(-0.5 * ((time - 0.5) / 0.08) ** 2)
        return (envelope * np.sin(2 * np.pi * 1234.5 * time))[:, None] * np.array([[1.0, -0.5]])

    resampled = render.resample(tone(48000, 48000), 44100)
    # The Gaussian is at 1e-9 of its peak at the ends: that is the error to expect.
    np.testing.assert_allclose(resampled, tone(44100, 44100), atol=1e-7)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 23000 * time) * np.hanning(48000)
    assert np.abs(render.resample(tone[:, None], 44100)).max() < 1e-6


def test_active_rms_leaves_rests_out() -> None:
    wave = np.zeros((4 * 44100, 2))
    wave[: 2 * 44100] = 0.25
    assert render.active_rms(wave, 44100) == pytest.approx(0.25)


def test_vowels_peak_at_their_formants() -> None:
    frequencies = np.arange(50.0, 4000.0, 5.0)
    for name, formants in FORMANTS.items():
        response = vowel_response(name, frequencies, 1.0)
        peaks = frequencies[1:-1][
            (response[1:-1] > response[:-2]) & (response[1:-1] > response[2:])
        ]
        for formant in formants:
            assert np.abs(peaks - formant).min() < 60, (name, formant, peaks)


def test_singing_a_vowel_filters_by_its_response() -> None:
    """White noise sung on one vowel has that vowel's squared response as its spectrum."""
    noise = np.random.default_rng(0).normal(size=(10 * 48000, 2))
    sung = sing_vowels(noise, 48000, [Vowel(0.0, "a")], 1.0)
    assert sung.shape == (10 * 48000, 1)

    def spectrum(wave: np.ndarray) -> np.ndarray:
        return np.square(np.abs(np.fft.rfft(wave.reshape(-1, 2048), axis=1))).mean(axis=0)

    measured = np.sqrt(spectrum(sung[: 234 * 2048, 0]) / spectrum(noise.mean(axis=1)[: 234 * 2048]))
    frequencies = np.fft.rfftfreq(2048, 1 / 48000)
    expected = vowel_response("a", frequencies, 1.0)
    band = (frequencies > 600) & (frequencies < 1300)
    # 234 averages of a chi-square with 2 degrees: 7 % each, and the windows smear the peaks.
    np.testing.assert_allclose(measured[band], expected[band], rtol=0.35)
    assert np.corrcoef(measured[band], expected[band])[0, 1] > 0.95


def test_vowels_change_with_the_notes() -> None:
    noise = np.random.default_rng(1).normal(size=(2 * 48000, 1))
    sung = sing_vowels(noise, 48000, [Vowel(0.0, "i"), Vowel(1.0, "a")], 1.0)[:, 0]
    frequencies = np.fft.rfftfreq(40000, 1 / 48000)
    near_a = (frequencies > 680) & (frequencies < 780)
    first = np.abs(np.fft.rfft(sung[:40000]))[near_a].mean()
    second = np.abs(np.fft.rfft(sung[50000:90000]))[near_a].mean()
    assert second > 3 * first


def test_mixture_is_the_exact_sum_and_peaks_at_minus_one_dbfs(waves: dict[str, np.ndarray]) -> None:
    total = sum(waves[stem].astype(np.int64) for stem in STEMS)
    assert np.array_equal(waves["mixture"], total)
    peak = max(int(np.abs(wave.astype(np.int32)).max()) for wave in waves.values())
    assert peak == pytest.approx(10 ** (-1 / 20) * 32768, abs=3)  # 2 steps of rounding


def test_waves_have_the_songs_length_and_no_stem_is_silent(
    song: Song, waves: dict[str, np.ndarray]
) -> None:
    mixture_power = np.square(waves["mixture"].astype(float)).mean()
    for name, wave in waves.items():
        assert wave.shape == (song.frames, 2)
        assert wave.dtype == np.int16
        level = 10 * np.log10(np.square(wave.astype(float)).mean() / mixture_power)
        assert -12 < level <= 0, (name, level)
        assert np.abs(wave[-1]).max() <= 1  # faded out


def test_what_the_renderer_would_clip_is_rendered_again_at_less_volume(song: Song) -> None:
    chord = tuple(Note(0.0, 2.0, pitch, 127) for pitch in range(40, 90, 2))
    wave = render.render_part(Part("comp", "other", 61, chord), song)
    assert 0.1 < np.abs(wave).max() < 1 - 1 / 32768


def test_pitch_is_the_written_pitch(song: Song) -> None:
    """An ocarina's A4, which is nearly a sine, sounds at 440 Hz in the resampled stem."""
    part = Part("lead", "vocals", 79, (Note(0.0, 4.0, 69, 100),), reverb=0)
    alone = dataclasses.replace(song, parts=(part,))
    wave = render.resample(render.render_part(part, alone), song.frames)[10000:42768, 0]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n=2**18))
    assert np.argmax(spectrum) * 44100 / 2**18 == pytest.approx(440, rel=0.006)  # 10 cents


@pytest.mark.parametrize("package", ["mido", "midirenderer", "pretty_midi"])
def test_a_missing_package_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find_spec(name)
    )
    render.soundfont_bytes.cache_clear()
    with pytest.raises(ConfigError, match=rf'{package} is not installed.*"stemgrid\[train\]"'):
        render.require_renderer()


def test_songs_carry_no_constant_offset():
    """Below 1e-3 of the deviation; the soundfont's samples alone leave up to 0.1."""
    waves = render.render_song(compose(0, "train", 0, 4))
    for name, wave in waves.items():
        assert abs(wave.mean()) < 1e-3 * wave.std() + 0.5, name
