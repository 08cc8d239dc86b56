"""The Streamer against a loop in NumPy float64, and against itself in other blocks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core.types import WindowKind
from mss.infer.plan import Plan, window_weights
from mss.infer.streamer import Streamer

WINDOWS: list[WindowKind] = ["triangle", "hann", "flat", "linear_fade"]


def position_dependent(chunks: Tensor) -> Tensor:
    """Two sources that depend on a sample's place in its chunk and on the chunk's length."""
    ramp = torch.linspace(0.5, 1.5, chunks.shape[-1]).to(chunks)
    return torch.stack([chunks * ramp, chunks.cumsum(-1) / chunks.shape[-1]], dim=1)


def identity(chunks: Tensor) -> Tensor:
    return torch.stack([chunks, -2 * chunks], dim=1)


def reference(mix: Tensor, plan: Plan) -> np.ndarray:
    """Overlap-add of position_dependent, as the formula says it, in float64."""
    grids = [one_grid(mix, plan, shift) for shift in plan.shifts or (0,)]
    return np.mean(grids, axis=0)


def one_grid(mix: Tensor, plan: Plan, shift: int) -> np.ndarray:
    """The grid over the recording with `shift` zeros before it, which are then cut off."""
    assert plan.segment is not None
    assert plan.stride is not None
    if mix.shape[-1] == 0:
        return np.zeros((2, mix.shape[0], 0))
    recording = torch.nn.functional.pad(mix.double(), (shift, 0))
    length = recording.shape[-1]
    total = np.zeros((2, mix.shape[0], length))
    weight_sum = np.zeros(length)
    kept = plan.segment - 2 * plan.context
    inner = window_weights(plan.window, kept).double().numpy()
    weights = np.pad(inner, plan.context, mode="edge")
    for start in range(0, length, plan.stride):
        end = min(start + plan.segment, length)
        chunk = separated(recording, start, end, plan)
        low = 0 if start == 0 else plan.context
        high = end - start - (plan.context if end - start == plan.segment else 0)
        if low < high:
            total[..., start + low : start + high] += weights[low:high] * chunk[..., low:high]
            weight_sum[start + low : start + high] += weights[low:high]
    return total[..., shift:] / weight_sum[shift:]


def separated(recording: Tensor, start: int, end: int, plan: Plan) -> np.ndarray:
    """One chunk of the recording, lengthened about its middle where the plan wants that."""
    assert plan.segment is not None
    left = (plan.segment - (end - start)) // 2 if plan.tail == "centred" else 0
    right = plan.segment - (end - start) - left if plan.tail == "centred" else 0
    padded = torch.nn.functional.pad(recording, (plan.segment, plan.segment))
    heard = padded[:, plan.segment + start - left : plan.segment + end + right]
    return position_dependent(heard[None])[0].numpy()[..., left : left + end - start]


def stream(streamer: Streamer, mix: Tensor, sizes: list[int]) -> Tensor:
    """Feed a recording in blocks of the given sizes, over and over."""
    parts, start, turn = [], 0, 0
    while start < mix.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.append(streamer.feed(mix[:, start : start + size]))
        start += size
        turn += 1
    parts.append(streamer.flush())
    return torch.cat(parts, dim=-1)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    segment = draw(st.integers(1, 60))
    context = draw(st.integers(0, (segment - 1) // 2))
    return Plan(
        sources=2,
        channels=2,
        segment=segment,
        stride=draw(st.integers(1, segment - 2 * context)),
        window=draw(st.sampled_from(WINDOWS)),
        batch_size=draw(st.integers(1, 4)),
        context=context,
        tail=draw(st.sampled_from(["short", "centred"])),
        shifts=tuple(draw(st.lists(st.integers(0, 100), max_size=3))),
    )


block_sizes = st.lists(st.integers(0, 90), min_size=1, max_size=5).filter(any)


@settings(max_examples=200, deadline=None)
@given(plan=plans(), length=st.integers(0, 300), sizes=block_sizes, seed=st.integers(0, 99))
def test_any_blocks_give_the_offline_result(
    plan: Plan, length: int, sizes: list[int], seed: int
) -> None:
    mix = torch.randn(2, length, generator=torch.Generator().manual_seed(seed))
    streamed = stream(Streamer(position_dependent, plan), mix, sizes)
    at_once = stream(Streamer(position_dependent, plan), mix, [max(1, length)])
    assert streamed.shape == (2, 2, length)
    assert torch.equal(streamed, at_once)
    np.testing.assert_allclose(streamed.numpy(), reference(mix, plan), rtol=1e-5, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(plan=plans(), length=st.integers(0, 300), sizes=block_sizes)
def test_identity_comes_back(plan: Plan, length: int, sizes: list[int]) -> None:
    mix = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    out = stream(Streamer(identity, plan), mix, sizes)
    torch.testing.assert_close(out[0], mix, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(out[1], -2 * mix, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("context", [0, 500])
def test_impulse_and_sine_show_no_seam(window: WindowKind, context: int) -> None:
    """The identity gives the identity, and no jump where chunks meet."""
    rate, length = 8000, 40000
    sine = torch.sin(2 * math.pi * 441.3 / rate * torch.arange(length, dtype=torch.float64))
    impulse = torch.zeros(length, dtype=torch.float64)
    impulse[9000] = impulse[18000 - 1] = impulse[18000] = 1  # at and beside a chunk's start
    mix = torch.stack([sine, impulse]).float()
    plan = Plan(
        2,
        2,
        segment=12000,
        stride=9000,
        window=window,
        batch_size=2,
        context=context,
        shifts=(0, 7),
    )
    out = stream(Streamer(identity, plan), mix, [1024])[0]
    torch.testing.assert_close(out, mix, atol=1e-6, rtol=0)
    # a seam would show as a jump of the second difference, at most (2 pi f / rate)^2 for a sine
    bound = (2 * math.pi * 441.3 / rate) ** 2
    assert out[0].diff(n=2).abs().max() < bound + 4e-6


@pytest.mark.parametrize("window", WINDOWS)
def test_a_filter_that_is_heard_whole_shows_no_seam(window: WindowKind) -> None:
    """With a context as long as its memory, a filter of chunks is the filter of the recording."""
    taps = torch.hann_window(65, periodic=False) / 32
    sine = torch.sin(2 * math.pi * 300 / 8000 * torch.arange(20000, dtype=torch.float64)).float()

    def filtered(chunks: Tensor) -> Tensor:
        rows = torch.nn.functional.conv1d(
            chunks.flatten(0, 1)[:, None], taps[None, None], padding=32
        )
        return rows.reshape(chunks.shape)[:, None]

    def jumps(context: int) -> float:
        plan = Plan(1, 1, 3000, 2000, window=window, context=context)
        out = stream(Streamer(filtered, plan), sine[None], [777])[0]
        return (out - filtered(sine[None, None])[0, 0]).abs().max().item()

    assert jumps(context=32) < 2e-6
    assert jumps(context=0) > 1e-5 or window == "hann"  # whose ends count for all but nothing


def test_what_is_heard_as_context_never_comes_out() -> None:
    """The edges that a chunk function spoils are the recording's own ones alone."""

    def spoilt(chunks: Tensor) -> Tensor:
        out = chunks[:, None].clone()
        out[..., :5] = out[..., -5:] = math.nan
        return out

    for tail in ("short", "centred"):
        plan = Plan(1, 1, segment=30, stride=15, context=5, tail=tail)  # type: ignore[arg-type]
        out = stream(Streamer(spoilt, plan), torch.arange(100.0)[None], [9])[0, 0]
        torch.testing.assert_close(out[5:-5], torch.arange(5.0, 95.0))
        assert out[:5].isnan().all()


def test_chunks_that_keep_nothing_are_not_run() -> None:
    heard: list[tuple[int, ...]] = []

    def spy(chunks: Tensor) -> Tensor:
        heard.append(tuple(chunks.shape[::2]))
        return identity(chunks)

    # starts 0, 6, 12: the next, 18, would keep what comes after 20
    stream(Streamer(spy, Plan(2, 2, segment=10, stride=6, context=2)), torch.ones(2, 20), [20])
    assert heard == [(1, 10), (1, 10), (1, 8)]
    heard.clear()
    # starts -25 and -15 keep nothing of the recording
    stream(Streamer(spy, Plan(2, 2, segment=10, stride=10, shifts=(25,))), torch.ones(2, 15), [15])
    assert heard == [(1, 10), (1, 10)]


def test_lengthened_chunks_are_separated_together() -> None:
    heard: list[tuple[int, ...]] = []

    def spy(chunks: Tensor) -> Tensor:
        heard.append(tuple(chunks.shape[::2]))
        return identity(chunks)

    plan = Plan(2, 2, segment=10, stride=3, batch_size=2, tail="centred")
    stream(Streamer(spy, plan), torch.zeros(2, 16), [4])
    # starts 0, 3, 6 are whole; 9, 12, 15 are cut
    assert heard == [(2, 10), (1, 10), (2, 10), (1, 10)]


def test_neighbouring_chunks_cross_fade() -> None:
    """Chunks that disagree are blended by the windows' ratio, not switched."""
    count = 0

    def numbered(chunks: Tensor) -> Tensor:
        nonlocal count
        levels = torch.arange(count, count + len(chunks)).to(chunks)
        count += len(chunks)
        return levels[:, None, None, None].expand(-1, 1, 1, chunks.shape[-1])

    plan = Plan(1, 1, segment=8, stride=4, window="triangle")
    out = stream(Streamer(numbered, plan), torch.zeros(1, 12), [12])[0, 0]
    # samples 4..7: chunk 0 falls with 4, 3, 2, 1 while chunk 1 rises with 1, 2, 3, 4
    torch.testing.assert_close(out[:8], torch.tensor([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8]))


def test_latency_is_kept_and_reached() -> None:
    plan = Plan(2, 1, segment=10, stride=7, batch_size=3)
    streamer = Streamer(position_dependent, plan)
    assert streamer.latency == 24
    held_most = 0
    done = 0
    for fed in range(1, 200):
        done += streamer.feed(torch.ones(1, 1)).shape[-1]
        held_most = max(held_most, fed - done)
    assert held_most == streamer.latency - 1


def test_batches_hold_equal_lengths_and_only_the_last_are_shorter() -> None:
    shapes: list[tuple[int, int]] = []

    def spy(chunks: Tensor) -> Tensor:
        shapes.append((chunks.shape[0], chunks.shape[-1]))
        return identity(chunks)

    plan = Plan(2, 2, segment=10, stride=5, batch_size=2)
    stream(Streamer(spy, plan), torch.zeros(2, 33), [4])
    # starts 0, 5, ... 30: five whole chunks (0..20), then 25..33 and 30..33
    assert shapes == [(2, 10), (2, 10), (1, 10), (1, 8), (1, 3)]


def test_whole_recording_in_one_call() -> None:
    lengths: list[int] = []

    def spy(chunks: Tensor) -> Tensor:
        lengths.append(chunks.shape[-1])
        return position_dependent(chunks)

    mix = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    shifted = stream(Streamer(position_dependent, Plan(2, 2, None, None, shifts=(0, 9))), mix, [7])
    later = position_dependent(torch.nn.functional.pad(mix, (9, 0))[None])[0, ..., 9:]
    torch.testing.assert_close(shifted, (position_dependent(mix[None])[0] + later) / 2)
    streamer = Streamer(spy, Plan(2, 2, None, None))
    assert streamer.latency is None
    out = stream(streamer, mix, [7])
    assert lengths == [1000]
    assert torch.equal(out, position_dependent(mix[None])[0])


@pytest.mark.parametrize(
    "plan",
    [
        Plan(2, 2, 10, 5),
        Plan(2, 2, 10, 3, context=3, tail="centred", shifts=(0, 7)),
        Plan(2, 2, None, None),
    ],
)
def test_usable_again_after_flush(plan: Plan) -> None:
    streamer = Streamer(position_dependent, plan)
    assert streamer.flush().shape == (2, 2, 0)
    first = torch.randn(2, 41, generator=torch.Generator().manual_seed(1))
    second = torch.randn(2, 23, generator=torch.Generator().manual_seed(2))
    stream(streamer, first, [6])
    again = stream(streamer, second, [6])
    assert torch.equal(again, stream(Streamer(position_dependent, plan), second, [23]))


def test_a_chunk_function_may_work_in_place() -> None:
    def in_place(chunks: Tensor) -> Tensor:
        chunks *= 3
        return torch.stack([chunks, chunks], dim=1)

    mix = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    kept = mix.clone()
    for batch_size in (1, 2):
        plan = Plan(2, 2, 10, 4, batch_size=batch_size)
        out = stream(Streamer(in_place, plan), mix, [50])
        torch.testing.assert_close(out[0], 3 * kept, atol=1e-6, rtol=1e-6)
    whole = stream(Streamer(in_place, Plan(2, 2, None, None)), mix, [50])
    assert torch.equal(mix, kept)
    assert torch.equal(whole[0], 3 * kept)


def test_memory_does_not_grow() -> None:
    """What a Streamer keeps between blocks is the same after 10 and after 1000 batches."""
    plan = Plan(2, 1, segment=64, stride=48)

    def kept_bytes(batches: int) -> int:
        streamer = Streamer(identity, plan)
        for _ in range(batches):
            streamer.feed(torch.ones(1, 48))
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in tensors_of(streamer)
        }
        return sum(storages.values())

    assert kept_bytes(10) == kept_bytes(1000) == 4 * (64 + 2 * 64 + 64 + 64)


def tensors_of(thing: object) -> list[Tensor]:
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, list | tuple):
        return [tensor for item in thing for tensor in tensors_of(item)]
    if hasattr(thing, "__dict__"):
        return [tensor for item in vars(thing).values() for tensor in tensors_of(item)]
    return []
