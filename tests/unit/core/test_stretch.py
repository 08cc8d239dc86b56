"""Both backends: pitch, tempo, length and place, against closed forms."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from stretch_signals import (
    RATE,
    bursts,
    cents,
    frequency_of,
    melody,
    onsets_of,
    sine,
    spectrogram,
)
from torch import Tensor

from mss.core.errors import DataError
from mss.core.stretch import Stretcher, stretched_frames
from mss.core.stretch_choice import choose_stretcher

CHANGES = [(-2, -12.0), (-2, 20.0), (0, 12.0), (1, 0.0), (2, -20.0), (2, 7.3)]


def audio(*channels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(channels)).float()


def apply(stretcher: Stretcher, signal: np.ndarray, semitones: float, tempo: float) -> np.ndarray:
    changed = stretcher(audio(signal), RATE, semitones, tempo)
    return changed[0].double().numpy()


@pytest.mark.parametrize(("semitones", "tempo"), CHANGES)
@pytest.mark.parametrize("frequency", [82.0, 1000.0, 5000.0])
def test_a_sine_is_within_five_cents(
    stretcher: Stretcher, frequency: float, semitones: int, tempo: float
) -> None:
    changed = apply(stretcher, sine(frequency, 2), semitones, tempo)
    expected = frequency * 2 ** (semitones / 12)
    middle = changed[8820:-8820]
    assert abs(cents(frequency_of(middle), expected)) < 5
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("speech", [False, True])
@pytest.mark.parametrize(("semitones", "tempo"), CHANGES)
def test_onsets_keep_tempo_and_place(
    stretcher: Stretcher, semitones: int, tempo: float, speech: bool
) -> None:
    """Their times on a line: its slope is the tempo, its offset how late the output is.

    A program that joins pieces of the recording plays each as fast as it was: what lies in the
    middle of a piece of 0.1 s comes by half a piece's change too early or too late.
    """
    times, rate = np.linspace(0.3, 7.7, 25), 1 + tempo / 100
    changed = stretcher(audio(bursts(times, 8)), RATE, semitones, tempo, speech)
    found = onsets_of(changed[0].double().numpy(), times / rate)
    slope, offset = np.polyfit(times, found, 1)
    assert slope * rate == pytest.approx(1, abs=0.005)
    inner = rate / 2 ** (semitones / 12)  # a higher pitch is a longer sound played faster
    bound = 0.004 + 0.05 * abs(1 - 1 / inner)
    assert abs(offset) < bound
    assert np.abs(found - times / rate).max() < 2 * bound


@pytest.mark.parametrize(("semitones", "tempo"), [(2, 12.0), (-2, -12.0), (1, 20.0)])
def test_a_tune_is_that_which_closed_form_gives(
    stretcher: Stretcher, semitones: int, tempo: float
) -> None:
    """Its spectrogram is that of the tune played so, and not of the tune as it was."""

    def likeness(one: np.ndarray, other: np.ndarray) -> float:
        a, b = (spectrogram(signal) for signal in (one, other))
        frames = min(a.shape[1], b.shape[1])
        return float(np.corrcoef(a[:, :frames].ravel(), b[:, :frames].ravel())[0, 1])

    changed = apply(stretcher, melody(4), semitones, tempo)
    rate = 1 + tempo / 100
    right = likeness(changed, melody(4, rate, semitones))
    assert right > 0.9
    assert right > 0.3 + max(
        likeness(changed, melody(4, rate)), likeness(changed, melody(4, 1, semitones))
    )


@pytest.mark.parametrize("frames", [1, 100, 4410, 44100, 50001])
@pytest.mark.parametrize("tempo", [-20.0, -0.013, 0.0, 12.0, 100.0])
def test_the_length_is_exact(stretcher: Stretcher, frames: int, tempo: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, frames))
    changed = stretcher(audio(*noise), RATE, semitones=1, tempo=tempo)
    assert changed.shape == (2, stretched_frames(frames, tempo))
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()


def test_lengths_by_hand() -> None:
    assert stretched_frames(44100, tempo=0) == 44100
    assert stretched_frames(44100, tempo=100) == 22050
    assert stretched_frames(44100, tempo=-50) == 88200
    assert stretched_frames(385258, tempo=12) == 343980  # 7.8 s out of 7.8 * 1.12 s


def test_levels_are_kept_however_loud_or_soft(stretcher: Stretcher) -> None:
    """A level is no limit: what is beyond full scale comes back, and so does what is faint."""
    noise = np.random.default_rng(1).uniform(-1, 1, (2, 44100))
    reference = stretcher(audio(*noise), RATE, 2, 5.0)
    for gain in (20.0, 1e-3, 1e-6):
        changed = stretcher(audio(*(noise * gain)), RATE, 2, 5.0)
        difference = (changed / gain - reference).square().mean()
        assert 10 * torch.log10(difference / reference.square().mean()) < -60
    # white noise keeps its density but for what is beyond half the sample rate
    assert float(reference.std()) == pytest.approx(noise.std(), rel=0.15)


def test_channels_keep_their_places(stretcher: Stretcher) -> None:
    """A source that is panned stays where it is; another on the other side changes nothing."""
    tone = melody(2)
    changed = stretcher(audio(tone, 0.25 * tone), RATE, 2, 10.0)
    assert torch.allclose(changed[1], 0.25 * changed[0], atol=1e-4)
    alone = stretcher(audio(tone, 0 * tone), RATE, 2, 10.0)
    assert alone[1].abs().max() < 1e-4 < alone[0].abs().max()


def test_silence_and_no_change(stretcher: Stretcher) -> None:
    silence = stretcher(torch.zeros(2, 1000), RATE, 2, 10.0)
    assert torch.equal(silence, torch.zeros(2, 909))
    noise = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stretcher(noise, RATE), noise)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(stretcher: Stretcher, value: float) -> None:
    broken = torch.zeros(1, 100)
    broken[0, 50] = value
    with pytest.raises(DataError, match=stretcher.name):
        stretcher(broken, RATE, 1)


def _change_noise(stretcher: Stretcher) -> bytes:
    noise = np.random.default_rng(2).normal(0, 0.1, (2, 22050))
    return stretcher(audio(*noise), RATE, -1, 3.21).numpy().tobytes()


def test_another_process_gives_the_same_bits(stretcher: Stretcher) -> None:
    """One that is started anew and gets the backend by its pickle, as workers may."""
    here = _change_noise(stretcher)
    assert _change_noise(pickle.loads(pickle.dumps(stretcher))) == here
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_change_noise, (stretcher,)) == here


def test_strided_audio_is_taken_as_it_is(stretcher: Stretcher) -> None:
    """Crops and flips are views; a library that reads their memory would read something else."""
    noise = torch.randn(2, 9000, generator=torch.Generator().manual_seed(3))
    view = noise.flip(0).T.contiguous().T[:, 100:8000]
    assert not view.is_contiguous()
    assert torch.equal(stretcher(view, RATE, 1, 2.0), stretcher(view.contiguous(), RATE, 1, 2.0))


def test_the_setting_for_speech_is_soundstretchs() -> None:
    given = audio(melody(1))
    for name, differs in (("soundstretch", True), ("python-stretch", False)):
        stretcher = choose_stretcher(name, "test")  # type: ignore[arg-type]
        music, voice = (stretcher(given, RATE, 1, 5.0, speech) for speech in (False, True))
        assert torch.equal(music, voice) != differs


def test_versions_are_told(stretcher: Stretcher) -> None:
    assert stretcher.version[0].isdigit()
