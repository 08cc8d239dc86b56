"""Recordings of any number of channels through one model."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.engine import Engine, ModelEngine
from mss.infer.groups import channel_groups
from mss.infer.separate import separate

SPEC = AudioSpec(("a", "b"), samplerate=800, channels=2)
PLAIN = InferenceDefaults(Fraction(1, 8), overlap=0.5)
NORMALISED = InferenceDefaults(Fraction(1, 8), overlap=0.5, normalise="file_mono_std")


def mixing(chunks: Tensor) -> Tensor:
    """Depends on the place in the chunk, on the level, and on both channels."""
    ramp = torch.linspace(0.5, 1.5, chunks.shape[-1])
    return torch.stack([(chunks * ramp).tanh(), chunks.flip(1)], dim=1)


def run(engine: Engine, mix: Tensor, rate: int, sizes: list[int]) -> Tensor:
    """First pass where there is one, then the session, in blocks of the given sizes."""

    def blocks() -> list[Tensor]:
        parts, start, turn = [], 0, 0
        while start < mix.shape[-1]:
            parts.append(mix[:, start : start + sizes[turn % len(sizes)]])
            start, turn = start + sizes[turn % len(sizes)], turn + 1
        return parts

    facts = ()
    first_pass = engine.first_pass(rate, mix.shape[0])
    if first_pass is not None:
        for block in blocks():
            first_pass.feed(block)
        facts = first_pass.finish()
    session = engine.session(rate, mix.shape[0], facts)
    assert session.channels == mix.shape[0]
    fed = done = 0
    stems = []
    for block in blocks():
        fed += block.shape[-1]
        stems.append(session.feed(block))
        done += stems[-1].shape[-1]
        if session.latency is not None:
            assert fed - done < session.latency
    return torch.cat([*stems, session.flush()], dim=-1)


def noise(channels: int, length: int) -> Tensor:
    return torch.randn(channels, length, generator=torch.Generator().manual_seed(length)) + 0.2


@settings(max_examples=50, deadline=None)
@given(
    length=st.integers(0, 700),
    channels=st.integers(1, 8),
    rate=st.sampled_from([800, 441, 1600]),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4).filter(any),
    inference=st.sampled_from([PLAIN, NORMALISED]),
    shifts=st.sampled_from([(), (0, 33)]),
)
def test_stems_have_the_recordings_channels_and_samples(
    length: int,
    channels: int,
    rate: int,
    sizes: list[int],
    inference: InferenceDefaults,
    shifts: tuple[int, ...],
) -> None:
    engine = ModelEngine(mixing, SPEC, inference, batch_size=2, shifts=shifts)
    mix = noise(channels, length)
    streamed = run(engine, mix, rate, sizes)
    assert streamed.shape == (2, channels, length)
    offline = run(engine, mix, rate, [max(1, length)])
    torch.testing.assert_close(streamed, offline, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("inference", [PLAIN, NORMALISED])
def test_pairs_are_separated_as_if_alone(inference: InferenceDefaults) -> None:
    """5.1: left and right, centre, low frequencies, the surrounds; statistics of each."""
    mix = noise(6, 500) * torch.tensor([1, 2, 0.1, 0.01, 5, 3])[:, None]
    engine = ModelEngine(mixing, SPEC, inference, batch_size=2)
    stems = run(engine, mix, 800, [77])
    for group in ([0, 1], [2], [3], [4, 5]):
        alone = mix[group].expand(2, -1).contiguous()
        expected = separate(mixing, SPEC, inference, alone, batch_size=2)
        expected = expected if len(group) == 2 else expected.mean(dim=1, keepdim=True)
        torch.testing.assert_close(stems[:, group], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", range(3, 9))
def test_groups_cover_each_channel_once_in_order(channels: int) -> None:
    groups = channel_groups(channels, 2)
    assert [channel for group in groups for channel in group] == list(range(channels))
    assert max(len(group) for group in groups) == 2
    assert channel_groups(channels, channels) == (tuple(range(channels)),)


def test_a_layout_that_nobody_knows() -> None:
    engine = ModelEngine(mixing, SPEC, PLAIN)
    for start in (engine.first_pass, engine.session):
        with pytest.raises(DataError, match="9 channels"):
            start(800, 9)


def test_a_plan_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        ModelEngine(mixing, SPEC, PLAIN, batch_size=0)
    with pytest.raises(ConfigError, match="shifts: -3"):
        ModelEngine(mixing, SPEC, PLAIN, shifts=(5, -3))


def test_facts_are_needed_where_a_model_normalises() -> None:
    with pytest.raises(AssertionError, match="first pass"):
        ModelEngine(mixing, SPEC, NORMALISED).session(800, 2)


def test_the_whole_song_at_once_has_no_latency_to_state() -> None:
    engine = ModelEngine(mixing, SPEC, InferenceDefaults(None))
    assert engine.session(800, 6).latency is None
    mix = noise(6, 300)
    assert torch.equal(run(engine, mix, 800, [7]), run(engine, mix, 800, [300]))
