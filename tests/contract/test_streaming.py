"""What every registered model promises once it runs over recordings, whichever it is."""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core import registry
from mss.core.separator import Separator
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.engine import Engine, Facts, ModelEngine
from mss.infer.separate import model_chunk_fn, separate

MODELS = registry.names("model", plugins=False)
SPEC = AudioSpec(("vocals", "other"))
SEGMENT = Fraction(1, 20)  # 2205 samples

pytestmark = pytest.mark.parametrize("name", MODELS)


@functools.cache
def build(name: str) -> Separator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Separator = registry.resolve("model", name).tiny(SPEC)
    return model.eval()


def inference_of(name: str) -> InferenceDefaults:
    """The model's own way, with chunks that are short enough for a test."""
    return replace(build(name).inference, segment=SEGMENT)


def noise(channels: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(channels, length, generator=generator) + 0.01


def blocks_of(mix: Tensor, sizes: list[int]) -> list[Tensor]:
    blocks, start = [], 0
    while start < mix.shape[-1]:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(mix[:, start : start + size])
        start += size
    return blocks


def stream(engine: Engine, mix: Tensor, rate: int, sizes: list[int]) -> Tensor:
    """What a file goes through: the first pass where there is one, then the session."""
    blocks = blocks_of(mix, sizes)
    first_pass = engine.first_pass(rate, mix.shape[0])
    facts: Facts = ()
    if first_pass is not None:
        for block in blocks:
            first_pass.feed(block)
        facts = first_pass.finish()
    session = engine.session(rate, mix.shape[0], facts)
    return torch.cat([*[session.feed(block) for block in blocks], session.flush()], dim=-1)


block_sizes = st.lists(st.integers(0, 4000), min_size=1, max_size=4).filter(
    lambda sizes: sum(sizes) > 200
)


@settings(max_examples=6, deadline=None)
@given(
    length=st.integers(1, 8000),
    sizes=block_sizes,
    batch_size=st.integers(1, 3),
    shifts=st.sampled_from([(), (0, 700)]),
    context=st.sampled_from([Fraction(0), SEGMENT / 9]),
)
def test_streamed_equals_offline(
    name: str,
    length: int,
    sizes: list[int],
    batch_size: int,
    shifts: tuple[int, ...],
    context: Fraction,
) -> None:
    chunk_fn = model_chunk_fn(build(name))
    inference = replace(inference_of(name), context=context)
    mix = noise(2, length)
    offline = separate(chunk_fn, SPEC, inference, mix, batch_size, shifts=shifts)
    streamed = stream(
        ModelEngine(chunk_fn, SPEC, inference, batch_size, shifts), mix, SPEC.samplerate, sizes
    )
    assert streamed.shape == (2, 2, length)
    # the first pass adds up its statistics in other blocks: float64's rounding
    torch.testing.assert_close(streamed, offline, atol=1e-6, rtol=0)


@settings(max_examples=3, deadline=None)
@given(length=st.integers(1, 6000), sizes=block_sizes, channels=st.sampled_from([1, 3]))
def test_at_another_rate_and_other_channels(
    name: str, length: int, sizes: list[int], channels: int
) -> None:
    engine = ModelEngine(model_chunk_fn(build(name)), SPEC, inference_of(name), batch_size=2)
    mix = noise(channels, length)
    streamed = stream(engine, mix, 48000, sizes)
    assert streamed.shape == (2, channels, length)
    torch.testing.assert_close(streamed, stream(engine, mix, 48000, [length]), atol=1e-6, rtol=0)


def test_whole_recording_at_once(name: str) -> None:
    """segment: null holds everything back and says so; the model then hears it in one piece."""
    inference = replace(inference_of(name), segment=None)
    chunk_fn = model_chunk_fn(build(name))
    mix = noise(2, 4001)
    engine = ModelEngine(chunk_fn, SPEC, replace(inference, normalise="none"))
    assert engine.session(44100, 2).latency is None
    engine = ModelEngine(chunk_fn, SPEC, inference)
    streamed = stream(engine, mix, 44100, [999])
    torch.testing.assert_close(
        streamed, separate(chunk_fn, SPEC, inference, mix), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("length", [1, 2, 3, 2204, 2205, 2206])
def test_as_long_as_the_recording(name: str, length: int) -> None:
    engine = ModelEngine(model_chunk_fn(build(name)), SPEC, inference_of(name))
    stems = stream(engine, noise(2, length), 44100, [length])
    assert stems.shape == (2, 2, length)
    assert stems.isfinite().all()
