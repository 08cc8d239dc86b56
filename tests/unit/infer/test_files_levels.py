"""Levels of the stems of a song, what they leave of the mixture, and the recording's tags."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import mutagen
import pytest
import torch
from torch import Tensor

from mss.core.audio_io import read_audio, write_audio
from mss.core.errors import ConfigError, DataError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.engine import ModelEngine
from mss.infer.files import separate_file

RATE = 8000
FULL_SCALE = 32767 / 32768
SPEC = AudioSpec(("low", "high"), samplerate=RATE, channels=2)
INFERENCE = InferenceDefaults(Fraction(1, 2), overlap=0.25)


def opposed(chunks: Tensor) -> Tensor:
    """Two loud stems whose sum is the mixture."""
    return torch.stack([3 * chunks, -2 * chunks], dim=1)


def quarters(chunks: Tensor) -> Tensor:
    return torch.stack([0.25 * chunks, 0.5 * chunks], dim=1)


LOUD = ModelEngine(opposed, SPEC, INFERENCE)
QUIET = ModelEngine(quarters, SPEC, INFERENCE)


@pytest.fixture
def mix() -> Tensor:
    """More than one block of reading; its peak is 0.5."""
    noise = torch.rand(2, 90_000, generator=torch.Generator().manual_seed(0)) - 0.5
    noise[1, 70_000] = 0.5
    return noise


@pytest.fixture
def song(tmp_path: Path, mix: Tensor) -> Path:
    path = tmp_path / "song.wav"
    write_audio(path, mix, RATE)
    return path


@pytest.mark.parametrize("fmt", ["wav16", "wav24", "flac"])
def test_one_gain_brings_the_loudest_stem_to_full_scale(
    tmp_path: Path, song: Path, mix: Tensor, fmt: str
) -> None:
    result = separate_file(LOUD, song, tmp_path / "out", fmt, rescale="shared")
    assert result.gain == pytest.approx(FULL_SCALE / 1.5, rel=1e-7)
    assert result.peaks == pytest.approx({"low": FULL_SCALE, "high": FULL_SCALE / 1.5}, rel=1e-6)
    assert result.clipped == {"low": 0, "high": 0}
    for share, stem in zip((3, -2), result.stems.values(), strict=True):
        audio, _ = read_audio(stem)
        torch.testing.assert_close(audio, result.gain * share * mix, atol=2**-15, rtol=0)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.*")) == sorted(
        path.name for path in result.stems.values()
    )


@pytest.mark.parametrize("fmt", ["wav16", "flac24", "mp3"])
def test_no_gain_where_nothing_clips(tmp_path: Path, song: Path, fmt: str) -> None:
    """Byte by byte what is written without the option."""
    plain = separate_file(QUIET, song, tmp_path / "plain", fmt)
    shared = separate_file(QUIET, song, tmp_path / "shared", fmt, rescale="shared")
    assert shared.gain == 1.0
    assert shared.peaks == plain.peaks
    for one, other in zip(plain.stems.values(), shared.stems.values(), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_float_format_needs_no_gain(tmp_path: Path, song: Path) -> None:
    result = separate_file(LOUD, song, tmp_path / "out", "wav32", rescale="shared")
    assert result.gain == 1.0
    assert result.peaks == pytest.approx({"low": 1.5, "high": 1.0})


def test_the_sum_error_is_of_the_stems_before_the_gain(tmp_path: Path, song: Path) -> None:
    plain = separate_file(LOUD, song, tmp_path / "plain")
    shared = separate_file(LOUD, song, tmp_path / "shared", rescale="shared")
    assert plain.sum_error_db == shared.sum_error_db
    assert shared.sum_error_db is not None
    assert shared.sum_error_db < -120


def test_the_residual_is_what_the_stems_leave(tmp_path: Path, song: Path, mix: Tensor) -> None:
    result = separate_file(QUIET, song, tmp_path / "out", "wav32", residual=True)
    assert list(result.stems) == ["low", "high", "residual"]
    audio, _ = read_audio(result.stems["residual"])
    torch.testing.assert_close(audio, 0.25 * mix, atol=1e-6, rtol=0)
    # of the model's own stems: the residual would make it nothing
    assert result.sum_error_db == pytest.approx(-12.04, abs=0.01)


def test_the_residual_takes_part_in_the_gain(tmp_path: Path, song: Path, mix: Tensor) -> None:
    def far_off(chunks: Tensor) -> Tensor:
        return torch.stack([-1.5 * chunks, -1.5 * chunks], dim=1)

    engine = ModelEngine(far_off, SPEC, INFERENCE)
    result = separate_file(engine, song, tmp_path / "out", rescale="shared", residual=True)
    assert result.gain == pytest.approx(FULL_SCALE / 2, rel=1e-6)
    total = sum(read_audio(stem)[0] for stem in result.stems.values())
    torch.testing.assert_close(total, result.gain * mix, atol=3 * 2**-16, rtol=0)


def test_a_source_called_residual_is_refused(tmp_path: Path, song: Path) -> None:
    spec = AudioSpec(("low", "residual"), samplerate=RATE, channels=2)
    with pytest.raises(ConfigError, match="residual"):
        separate_file(ModelEngine(quarters, spec, INFERENCE), song, tmp_path / "out", residual=True)
    assert not (tmp_path / "out").exists()


def test_another_rescale_is_refused(tmp_path: Path, song: Path) -> None:
    with pytest.raises(ConfigError, match="rescale"):
        separate_file(QUIET, song, tmp_path / "out", rescale="stem")  # type: ignore[arg-type]


def test_nan_is_named_by_its_final_path_while_stems_wait(tmp_path: Path, song: Path) -> None:
    def broken(chunks: Tensor) -> Tensor:
        return quarters(chunks) * float("nan")

    engine = ModelEngine(broken, SPEC, INFERENCE)
    with pytest.raises(DataError, match="NaN") as caught:
        separate_file(engine, song, tmp_path / "out", "flac", rescale="shared")
    assert str(caught.value).startswith(str(tmp_path / "out" / "song" / "low.flac"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rescale", ["none", "shared"])
def test_tags_are_copied_with_the_stem_in_the_title(
    tmp_path: Path, mix: Tensor, rescale: str
) -> None:
    path = tmp_path / "song.flac"
    write_audio(path, mix, RATE)
    tagged = mutagen.File(path)
    tagged["title"], tagged["artist"] = "Ode", "Anon"
    tagged.save()
    result = separate_file(
        QUIET,
        path,
        tmp_path / "out",
        "flac",
        rescale=rescale,  # type: ignore[arg-type]
    )
    written = mutagen.File(result.stems["high"])
    assert (written["title"], written["artist"]) == (["Ode (high)"], ["Anon"])
    assert result.left_out == ()
