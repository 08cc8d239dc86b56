"""Whole recordings: our normalisation and overlap-add against demucs 4.1.0's, one network for both.

Reference: demucs.api.Separator.separate_tensor, that is (wav - mean) / (std + 1e-8) of the mono mix
about demucs.apply.apply_model(split=True, shifts=0).
"""

from fractions import Fraction

import pytest
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from torch import Tensor

from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.separate import separate

pytestmark = pytest.mark.parity

SPEC = AudioSpec(("drums", "bass", "other", "vocals"), samplerate=8000, channels=2)
SEGMENT = Fraction(1)
TOLERANCE = 1e-5  # float32: the order of sums differs, nothing else


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """A small HDemucs with frequency, LSTM and local attention layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HDemucs(
            list(SPEC.sources),
            channels=8,
            nfft=1024,
            depth=5,
            samplerate=SPEC.samplerate,
            segment=float(SEGMENT),
            dconv_init=0.3,  # the published 1e-3 would hide those layers
        )
    return model.eval()


def chunk_fn_of(network: torch.nn.Module) -> ChunkFn:
    def chunk_fn(chunks: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = network(chunks)
        return out

    return chunk_fn


def reference(network: torch.nn.Module, mix: Tensor, overlap: float) -> Tensor:
    mono = mix.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    out: Tensor = apply_model(
        network, ((mix - mean) / std)[None], split=True, overlap=overlap, shifts=0
    )
    return out[0] * std + mean


def recording(frames: int) -> Tensor:
    """Coloured noise with an offset and a level far from 1, so that normalisation matters."""
    generator = torch.Generator().manual_seed(frames)
    noise = torch.randn(2, frames, generator=generator)
    return 0.03 * noise + 0.05 * noise.roll(3, -1) + 0.02


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    rms = theirs.square().mean().sqrt()
    assert rms > 1e-3, "a silent reference would prove nothing"
    error = (ours - theirs).abs().max()
    assert error <= TOLERANCE
    assert error <= TOLERANCE * rms


# one segment is 8000 samples, the stride at overlap 0.25 is 6000
@pytest.mark.parametrize("frames", [1001, 5999, 6001, 8000, 8001, 12000, 27183, 32000])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_equals_demucs(network: torch.nn.Module, frames: int, batch_size: int) -> None:
    mix = recording(frames)
    inference = InferenceDefaults(SEGMENT, 0.25, "triangle", "file_mono_std")
    ours = separate(chunk_fn_of(network), SPEC, inference, mix, batch_size)
    assert_equal(ours, reference(network, mix, 0.25))


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.75])
def test_equals_demucs_at_other_overlaps(network: torch.nn.Module, overlap: float) -> None:
    mix = recording(20011)
    inference = InferenceDefaults(SEGMENT, overlap, "triangle", "file_mono_std")
    assert_equal(
        separate(chunk_fn_of(network), SPEC, inference, mix), reference(network, mix, overlap)
    )
