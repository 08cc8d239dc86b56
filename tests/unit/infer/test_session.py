from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.session import StreamingSession

SPEC = AudioSpec(("a", "b"), samplerate=800, channels=2)


def position_dependent(chunks: Tensor) -> Tensor:
    ramp = torch.linspace(0.5, 1.5, chunks.shape[-1])
    return torch.stack([chunks * ramp, -chunks], dim=1)


def run(mix: Tensor, rate: int, sizes: list[int], batch_size: int) -> Tensor:
    inference = InferenceDefaults(Fraction(1, 8), overlap=0.5)
    session = StreamingSession(
        position_dependent, SPEC, inference, rate, mix.shape[0], batch_size=batch_size
    )
    parts, start, turn = [], 0, 0
    while start < mix.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.append(session.feed(mix[:, start : start + size]))
        assert sum(part.shape[-1] for part in parts) <= start + size
        start += size
        turn += 1
    return torch.cat([*parts, session.flush()], dim=-1)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 900),
    rate=st.sampled_from([800, 441, 1600, 1000]),
    channels=st.integers(1, 3),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4).filter(any),
    batch_size=st.integers(1, 3),
)
def test_any_blocks_give_the_offline_result(
    length: int, rate: int, channels: int, sizes: list[int], batch_size: int
) -> None:
    mix = torch.randn(channels, length, generator=torch.Generator().manual_seed(length))
    streamed = run(mix, rate, sizes, batch_size)
    assert streamed.shape == (2, min(channels, 2), length)
    offline = run(mix, rate, [max(1, length)], batch_size)
    # the resampler's convolutions over other block lengths round differently
    torch.testing.assert_close(streamed, offline, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("rate", [800, 1600])
def test_latency_of_a_session_is_bounded(rate: int) -> None:
    """What is held back stays below a chunk and the spans of two filters."""
    session = StreamingSession(
        position_dependent, SPEC, InferenceDefaults(Fraction(1, 8)), rate, channels=2
    )
    fed = done = held = 0
    for _ in range(200):
        done += session.feed(torch.zeros(2, 50)).shape[-1]
        fed += 50
        held = max(held, fed - done)
    assert held <= rate / 8 + 50 + 4 * 80
