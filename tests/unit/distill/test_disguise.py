"""The disguise of a recording: pitch and tempo are changed, each by what was asked for."""

import sys

import pytest
import torch

from mss.core.errors import ConfigError
from mss.distill.disguise import PitchTempo

RATE = 44100


def tone(hertz: float, seconds: float) -> torch.Tensor:
    time = torch.arange(int(seconds * RATE)) / RATE
    return 0.3 * torch.sin(2 * torch.pi * hertz * time).repeat(2, 1)


def frequency(audio: torch.Tensor) -> float:
    """The strongest frequency of the middle half, to a tenth of a bin."""
    middle = audio[0, audio.shape[-1] // 4 : 3 * audio.shape[-1] // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), 10 * len(middle)).abs()
    return float(spectrum.argmax()) * RATE / (10 * len(middle))


@pytest.mark.parametrize(("semitones", "tempo"), [(6.0, 2.0), (-3.0, 1.0), (0.0, 1.25)])
def test_pitch_and_tempo(semitones: float, tempo: float) -> None:
    audio = tone(440, 3)
    changed = PitchTempo(semitones, tempo)(audio, RATE)
    assert changed.dtype == torch.float32
    assert changed.shape[0] == 2
    assert changed.shape[1] == round(audio.shape[1] / tempo)
    assert frequency(changed) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.001)


def test_no_change_is_the_recording_itself() -> None:
    audio = tone(440, 0.1)
    assert PitchTempo(0, 1)(audio, RATE) is audio


def test_the_same_recording_gets_the_same_disguise() -> None:
    audio = torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PitchTempo()(audio, RATE), PitchTempo()(audio, RATE))


@pytest.mark.parametrize(("channels", "frames"), [(1, 1), (1, 100), (2, 5000), (6, 5000)])
def test_any_channels_and_short_recordings(channels: int, frames: int) -> None:
    changed = PitchTempo()(torch.ones(channels, frames), RATE)
    assert changed.isfinite().all()
    assert changed.shape == (channels, round(frames / 2))


@pytest.mark.parametrize(("semitones", "tempo", "key"), [(30, 1, "semitones"), (0, 0, "tempo")])
def test_too_much(semitones: float, tempo: float, key: str) -> None:
    with pytest.raises(ConfigError, match=f"--{key}"):
        PitchTempo(semitones, tempo)


def test_without_the_package_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(ConfigError, match="pip install python-stretch"):
        PitchTempo()(torch.ones(1, 100), RATE)
