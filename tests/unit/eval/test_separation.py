"""Recordings at another rate and with other channels than the model's."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mss.core.types import AudioSpec, InferenceDefaults
from mss.eval.separation import recording_separator
from mss.metrics.energy import NSDR

SPEC = AudioSpec(("half", "rest"), samplerate=8000, channels=2)
INFERENCE = InferenceDefaults(Fraction(1, 2))


def halves(chunks: Tensor) -> Tensor:
    """A model of two sources, 0.25 and 0.75 of the mixture."""
    assert chunks.shape[1] == SPEC.channels
    return torch.stack([0.25 * chunks, 0.75 * chunks], dim=1)


@pytest.mark.parametrize(
    ("samplerate", "channels"), [(8000, 2), (8000, 1), (11025, 2), (16000, 1), (7919, 2)]
)
def test_stems_come_back_as_the_recording_went_in(samplerate: int, channels: int) -> None:
    time = torch.arange(12345) / samplerate
    # far below both Nyquist frequencies, faded so that the resampler's edges don't matter
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * time) * torch.hann_window(12345)
    mix = tone.expand(channels, -1)
    separate = recording_separator(halves, SPEC, INFERENCE, samplerate)
    stems = separate(mix)
    assert stems.shape == (2, channels, 12345)
    expected = torch.stack([0.25 * mix, 0.75 * mix])
    # the pass band of the resamplers is flat to about 1e-3 (60 dB), their delay is zero
    assert (NSDR()(expected, stems, samplerate) > 55).all()


def test_nothing_is_converted_without_need() -> None:
    mix = torch.randn(2, 9000, generator=torch.Generator().manual_seed(0))
    stems = recording_separator(halves, SPEC, InferenceDefaults(None), 8000)(mix)
    assert torch.equal(stems, halves(mix[None])[0])
