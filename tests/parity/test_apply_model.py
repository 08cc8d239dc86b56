"""Whole recordings: our normalisation and overlap-add against demucs 4.1.0's, one network for both.

Reference: demucs.api.Separator.separate_tensor, that is (wav - mean) / (std + 1e-8) of the mono mix
about demucs.apply.apply_model(split=True, shifts=0).
"""

import random
from fractions import Fraction

import pytest
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import Tensor

from mss.core import registry
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.separate import model_chunk_fn, separate
from mss.release.importers.demucs import htdemucs_from_demucs

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


@pytest.fixture(scope="module")
def transformers() -> tuple[torch.nn.Module, Separator]:
    """A small HTDemucs of demucs, which sees whole segments only, and ours with its weights."""
    options = {
        "channels": 8,
        "nfft": 1024,
        "depth": 3,
        "bottom_channels": 32,
        "dconv_mode": 3,
        "dconv_comp": 4,
        "norm_groups": 2,
        "t_layers": 3,
        "t_heads": 4,
        "dconv_init": 0.3,
        "samplerate": SPEC.samplerate,
        "segment": float(SEGMENT),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HTDemucs(list(SPEC.sources), **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(0.3)
    imported = htdemucs_from_demucs(
        {"args": [list(SPEC.sources)], "kwargs": options}, model.state_dict()
    )
    ours: Separator = registry.build(
        "model", {"name": imported.arch, **imported.config}, imported.spec
    )
    ours.load_state_dict(imported.state, strict=True)
    return model.eval(), ours.eval()


def chunk_fn_of(network: torch.nn.Module) -> ChunkFn:
    def chunk_fn(chunks: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = network(chunks)
        return out

    return chunk_fn


def reference(
    network: torch.nn.Module, mix: Tensor, overlap: float = 0.25, shifts: int = 0
) -> Tensor:
    mono = mix.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    out: Tensor = apply_model(
        network, ((mix - mean) / std)[None], split=True, overlap=overlap, shifts=shifts
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
    assert rms > 1e-4, "a silent reference would prove nothing"
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


@pytest.mark.parametrize("frames", [1, 333, 1001, 5999, 6001, 7999, 8000, 8001, 13999, 27183])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_transformer_equals_demucs_at_every_length(
    transformers: tuple[torch.nn.Module, Separator], frames: int, batch_size: int
) -> None:
    """Chunks that the end cuts are lengthened to whole ones, with the song before them."""
    theirs, ours = transformers
    mix = recording(frames)
    if frames == 1:
        # one sample has no deviation to divide by: both as they are
        expected = apply_model(theirs, mix[None], split=True, overlap=0.25, shifts=0)[0]
    else:
        expected = reference(theirs, mix)
    got = separate(model_chunk_fn(ours), SPEC, ours.inference, mix, batch_size)
    assert_equal(got, expected)


@pytest.mark.parametrize("frames", [1001, 13999])
def test_short_tails_are_not_what_demucs_gives_a_transformer(
    transformers: tuple[torch.nn.Module, Separator], frames: int
) -> None:
    theirs, ours = transformers
    assert ours.inference.tail == "centred"
    mix = recording(frames)
    inference = InferenceDefaults(SEGMENT, 0.25, "triangle", "file_mono_std", tail="short")
    got, expected = (
        separate(model_chunk_fn(ours), SPEC, inference, mix),
        reference(theirs, mix),
    )
    assert (got - expected).abs().max() > 1e-3 * expected.square().mean().sqrt()


@pytest.mark.parametrize("frames", [777, 8000, 20011])
def test_shifts_are_those_of_demucs(
    network: torch.nn.Module,
    transformers: tuple[torch.nn.Module, Separator],
    frames: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """demucs crops a random part of half a second's silence: what is left is our shift."""
    longest = SPEC.samplerate // 2
    shifts = [0, 1234, longest]
    mix = recording(frames)
    theirs, ours = transformers
    inference = InferenceDefaults(SEGMENT, 0.25, "triangle", "file_mono_std")
    for reference_model, chunk_fn, how in (
        (network, chunk_fn_of(network), inference),
        (theirs, model_chunk_fn(ours), ours.inference),
    ):
        crops = iter([longest - shift for shift in shifts])
        monkeypatch.setattr(random, "randint", lambda low, high, crops=crops: next(crops))
        expected = reference(reference_model, mix, shifts=len(shifts))
        assert_equal(separate(chunk_fn, SPEC, how, mix, shifts=shifts), expected)
