"""Whole-file statistics: blocking changes nothing, and undoing gives the input back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mss.core.normalise import MonoStatistics, Normalisation, file_normalisation


def audio(frames: int, offset: float = 0.1) -> torch.Tensor:
    return torch.randn(2, frames, generator=torch.Generator().manual_seed(frames)) + offset


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1))
def test_any_blocking_gives_the_formula(sizes):
    whole = audio(sum(sizes), offset=3.0)
    statistics = MonoStatistics()
    for block in torch.split(whole, sizes, dim=-1):
        statistics.update(block)
    mono = whole.double().mean(0)
    assert statistics.mean == pytest.approx(mono.mean().item(), rel=1e-12)
    assert statistics.std == pytest.approx(mono.std().item(), rel=1e-9)


def test_normalised_audio_has_zero_mean_and_unit_deviation():
    given_audio = audio(10_000)
    mono = file_normalisation(given_audio, "file_mono_std").apply(given_audio).mean(0)
    assert mono.mean().item() == pytest.approx(0, abs=1e-6)
    assert mono.std().item() == pytest.approx(1, rel=1e-5)


def test_undo_inverts_apply():
    level = Normalisation(0.25, 3.0)
    given_audio = audio(1000)
    torch.testing.assert_close(level.undo(level.apply(given_audio)), given_audio)


@pytest.mark.parametrize("kind", ["none", "file_mono_std"])
def test_silence_and_a_single_sample_stay_as_they_are(kind):
    for given_audio in (torch.zeros(2, 100), torch.full((2, 1), 0.5), torch.zeros(2, 0)):
        level = file_normalisation(given_audio, kind)
        assert torch.equal(level.apply(given_audio), given_audio)
