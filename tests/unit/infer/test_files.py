"""Disk to disk, with chunk functions whose result is known."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from mss.core.audio_io import read_audio, write_audio
from mss.core.errors import ConfigError, DataError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.engine import ModelEngine
from mss.infer.files import separate_file
from mss.infer.separate import separate

RATE = 8000
SPEC = AudioSpec(("low", "high"), samplerate=RATE, channels=2)
INFERENCE = InferenceDefaults(Fraction(1, 2), overlap=0.25)


def halves(chunks: Tensor) -> Tensor:
    return torch.stack([0.25 * chunks, 0.5 * chunks], dim=1)


def position_dependent(chunks: Tensor) -> Tensor:
    ramp = torch.linspace(0.2, 0.6, chunks.shape[-1])
    return torch.stack([chunks * ramp, chunks * (1 - ramp)], dim=1)


def noise(channels: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return 0.1 * torch.randn(channels, frames, generator=generator)


def low_band(channels: int, frames: int, rate: int) -> Tensor:
    """Sines far below any Nyquist frequency of these tests; both ends fade to silence."""
    time = torch.arange(frames, dtype=torch.float64) / rate
    tones = [torch.sin(2 * math.pi * (300 + 170 * c) * time + c) for c in range(channels)]
    fade = torch.hann_window(frames, periodic=False, dtype=torch.float64)
    return (0.3 * torch.stack(tones) * fade).float()


def song(tmp_path: Path, audio: Tensor, rate: int = RATE, name: str = "song.wav") -> Path:
    path = tmp_path / name
    write_audio(path, audio, rate)  # float32
    return path


@pytest.mark.parametrize("frames", [1, 2, 3999, 4000, 4001, 70000])
@pytest.mark.parametrize("normalise", ["none", "file_mono_std"])
def test_file_equals_array(tmp_path: Path, frames: int, normalise: str) -> None:
    """The same chunks and normalisation as `separate`; 70000 is more than one block of reading."""
    inference = InferenceDefaults(Fraction(1, 2), normalise=normalise)  # type: ignore[arg-type]
    mix = noise(2, frames) + 0.2
    path = song(tmp_path, mix)
    engine = ModelEngine(position_dependent, SPEC, inference, batch_size=2)
    result = separate_file(engine, path, tmp_path / "out", "wav32")
    expected = separate(position_dependent, SPEC, inference, mix, batch_size=2)
    assert list(result.stems) == ["low", "high"]
    for stem, wanted in zip(result.stems.values(), expected, strict=True):
        audio, rate = read_audio(stem)
        assert rate == RATE
        # the statistics are summed in other blocks: equal to float32 rounding
        torch.testing.assert_close(audio, wanted, atol=1e-6, rtol=1e-6)
    assert result.frames == frames
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["song"]


@pytest.mark.parametrize(("rate", "channels"), [(8000, 2), (16000, 2), (6000, 1), (11025, 2)])
def test_statistics_are_those_of_what_the_model_sees(
    tmp_path: Path, rate: int, channels: int
) -> None:
    """Mean 0 and standard deviation 1 after channels and rate are converted, to the last sample."""
    mix = noise(channels, 901) + 0.3
    mix[:, -20:] *= 20  # a loud end, which a resampler's flush brings
    seen: list[Tensor] = []

    def spy(chunks: Tensor) -> Tensor:
        seen.append(chunks[0].clone())
        return halves(chunks)

    inference = InferenceDefaults(Fraction(1, 20), overlap=0.0, normalise="file_mono_std")
    separate_file(ModelEngine(spy, SPEC, inference), song(tmp_path, mix, rate), tmp_path / "out")
    mono = torch.cat(seen, dim=-1).double().mean(0)
    assert mono.shape[-1] == math.ceil(901 * RATE / rate)
    assert mono.mean().item() == pytest.approx(0, abs=1e-6)
    assert mono.std().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rate", [6000, 11025, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [1, 10007])
def test_sample_rate_length_and_channels_are_kept(
    tmp_path: Path, rate: int, channels: int, frames: int
) -> None:
    mix = low_band(channels, frames, rate)
    path = song(tmp_path, mix, rate)
    result = separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out", "wav32")
    for share, stem in zip((0.25, 0.5), result.stems.values(), strict=True):
        audio, stem_rate = read_audio(stem)
        assert stem_rate == rate
        assert audio.shape == (channels, frames)
        # 60 dB below the mix: the ripple of two resampling filters in their pass band
        torch.testing.assert_close(audio, share * mix, atol=3e-4, rtol=0)


def test_surround_stays_surround(tmp_path: Path) -> None:
    mix = noise(6, 5000)
    path = song(tmp_path, mix)
    result = separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out", "wav32")
    assert result.channels == 6
    audio, _ = read_audio(result.stems["low"])
    torch.testing.assert_close(audio, 0.25 * mix, atol=1e-6, rtol=0)


def test_stereo_file_and_mono_model(tmp_path: Path) -> None:
    spec = AudioSpec(("low", "high"), RATE, channels=1)
    mix = noise(2, 5000)
    path = song(tmp_path, mix)
    result = separate_file(ModelEngine(halves, spec, INFERENCE), path, tmp_path / "out", "wav32")
    audio, _ = read_audio(result.stems["high"])
    torch.testing.assert_close(audio, 0.5 * mix.mean(0, keepdim=True).expand(2, -1))


@pytest.mark.parametrize(("fmt", "subtype"), [("wav16", "PCM_16"), ("flac", "PCM_16")])
def test_clipping_is_counted_and_no_stem_is_rescaled(
    tmp_path: Path, fmt: str, subtype: str
) -> None:
    loud = torch.zeros(2, 4000)
    loud[:, 1000:1010] = 0.9

    def louder(chunks: Tensor) -> Tensor:
        return torch.stack([2 * chunks, 0.5 * chunks], dim=1)

    path = song(tmp_path, loud)
    result = separate_file(ModelEngine(louder, SPEC, INFERENCE), path, tmp_path / "out", fmt)
    assert result.clipped == {"low": 20, "high": 0}
    assert result.peaks == pytest.approx({"low": 1.8, "high": 0.45})
    assert soundfile.info(result.stems["low"]).subtype == subtype
    quiet, _ = read_audio(result.stems["high"])
    torch.testing.assert_close(quiet, 0.5 * loud, atol=2**-15, rtol=0)
    floats = separate_file(ModelEngine(louder, SPEC, INFERENCE), path, tmp_path / "out", "wav32")
    assert floats.clipped == {"low": 0, "high": 0}
    assert read_audio(floats.stems["low"])[0].max() == pytest.approx(1.8)


def test_sum_error_by_hand(tmp_path: Path) -> None:
    """0.25 + 0.5 of the mixture leave a quarter of it: 20 log10(1/4) = -12.04 dB."""
    path = song(tmp_path, noise(2, 30000))
    result = separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out")
    assert result.sum_error_db == pytest.approx(20 * math.log10(0.25), abs=1e-4)


def test_sum_error_of_silence_is_undefined(tmp_path: Path) -> None:
    path = song(tmp_path, torch.zeros(2, 3000))
    result = separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out")
    assert result.sum_error_db is None
    assert result.peaks == {"low": 0.0, "high": 0.0}


def test_progress_rises_to_one(tmp_path: Path) -> None:
    told: list[float] = []
    path = song(tmp_path, noise(2, 200_000))
    separate_file(
        ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out", progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 3


class Stop(BaseException):
    """As KeyboardInterrupt is, no Exception."""


@pytest.mark.parametrize("old", [False, True])
def test_an_interruption_changes_nothing(tmp_path: Path, old: bool) -> None:
    calls = 0

    def interrupted(chunks: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Stop
        return halves(chunks)

    path = song(tmp_path, noise(2, 100_000))
    out = tmp_path / "deep" / "out"
    if old:
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(Stop):
        separate_file(ModelEngine(interrupted, SPEC, INFERENCE), path, out)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert calls == 5
    assert after == before
    assert (tmp_path / "deep").exists() == old


def test_stems_appear_together(tmp_path: Path) -> None:
    path = song(tmp_path, noise(2, 100_000))
    folder = tmp_path / "out" / "song"
    seen: list[bool] = []

    def watching(chunks: Tensor) -> Tensor:
        seen.append(folder.exists())
        return halves(chunks)

    separate_file(ModelEngine(watching, SPEC, INFERENCE), path, tmp_path / "out")
    assert not any(seen)
    assert sorted(p.name for p in folder.iterdir()) == ["high.wav", "low.wav"]


def test_a_model_that_gives_nan_leaves_no_file(tmp_path: Path) -> None:
    path = song(tmp_path, noise(2, 9000))

    def broken(chunks: Tensor) -> Tensor:
        return halves(chunks) * float("nan")

    with pytest.raises(DataError, match="NaN") as caught:
        separate_file(ModelEngine(broken, SPEC, INFERENCE), path, tmp_path / "out")
    assert str(tmp_path / "out" / "song" / "low.wav") in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((0, 2)), "holds no audio"),
        (np.array([[0.0, 0.0], [0.0, np.nan]]), "not a finite number"),
    ],
)
def test_what_can_not_be_separated(tmp_path: Path, content: np.ndarray, message: str) -> None:
    path = tmp_path / "bad.wav"
    soundfile.write(path, content, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=message) as caught:
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out")
    assert "bad.wav" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.wav"):
        separate_file(
            ModelEngine(halves, SPEC, INFERENCE), tmp_path / "nowhere.wav", tmp_path / "out"
        )


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    path = song(tmp_path / "low", noise(2, 100), name="low.wav")
    content = path.read_bytes()
    with pytest.raises(DataError, match="overwrite"):
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path)
    assert path.read_bytes() == content


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    path = song(tmp_path, noise(2, 100))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "song").write_text("mine")
    with pytest.raises(DataError, match=r"out/song: is a file"):
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out")
    with pytest.raises(DataError, match=r"out/song: is a file"):
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out" / "song")
    assert (tmp_path / "out" / "song").read_text() == "mine"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["song"]


def test_a_format_that_can_not_hold_it_names_the_final_file(tmp_path: Path) -> None:
    path = song(tmp_path, noise(2, 100), rate=9000)
    with pytest.raises(ConfigError, match="MP3 has no 9000 Hz") as caught:
        separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out", "mp3")
    assert str(tmp_path / "out" / "song" / "low.mp3") in str(caught.value)


def test_own_name_and_unicode(tmp_path: Path) -> None:
    path = song(tmp_path, noise(2, 100), name="Ünïcødé – " + "ж" * 100 + ".wav")
    first = separate_file(ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out")
    assert first.stems["low"].parent.name == path.stem
    second = separate_file(
        ModelEngine(halves, SPEC, INFERENCE), path, tmp_path / "out", "flac", name="short"
    )
    assert second.stems["high"] == tmp_path / "out" / "short" / "high.flac"
    assert second.stems["high"].is_file()
