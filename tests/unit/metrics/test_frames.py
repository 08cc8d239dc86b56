"""Frames are cut as museval's Framing cuts them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mss.metrics.frames import Framing, any_silent, frame_energies
from mss.metrics.museval_backend import load_museval_metrics


def spans(framing: Framing) -> list[tuple[int, int]]:
    return [(span.start, span.stop) for span in framing]


def test_samples_after_the_last_whole_frame_are_in_none() -> None:
    assert spans(Framing(10, 4, 4)) == [(0, 4), (4, 8)]
    assert spans(Framing(10, 4, 3)) == [(0, 4), (3, 7), (6, 10)]
    assert spans(Framing(3, 4, 4)) == spans(Framing(3, math.inf, math.inf)) == [(0, 3)]


@settings(deadline=None)  # the first call imports SciPy
@given(
    length=st.integers(1, 300),
    window=st.floats(1, 400) | st.integers(1, 400) | st.just(math.inf),
    hop=st.floats(1, 400) | st.integers(1, 400),
)
def test_as_museval(length: int, window: float, hop: float) -> None:
    expected = load_museval_metrics().Framing(window, hop, length)
    assert spans(Framing(length, window, hop)) == [(span.start, span.stop) for span in expected]


def test_silence_is_a_sum_of_channels_that_is_all_zero() -> None:
    audio = torch.zeros(2, 2, 500)
    audio[0] = 0.1
    assert any_silent(audio)
    audio[1, 0, 401] = 1e-30  # one sample, not among those that are looked at first
    assert not any_silent(audio)
    audio[1, 1, 401] = -1e-30
    assert any_silent(audio)


def test_energies_of_float32_are_those_of_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(2, 2, 900, generator=generator)
    for error in (1.0, 1e-3, 1e-5):  # 0, 60 and 100 dB
        estimate = reference + error * torch.randn(2, 2, 900, generator=generator)
        energies = frame_energies(reference, estimate, Framing(900, 300, 300))
        wide = frame_energies(reference.double(), estimate.double(), Framing(900, 300, 300))
        torch.testing.assert_close(energies.sdr(), wide.sdr(), rtol=0, atol=1e-6)


def test_out_of_range() -> None:
    with pytest.raises(IndexError):
        Framing(10, 4, 4)[2]
