import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.infer.aligned import Aligned, FixedBlocks


def cut(signal: Tensor, sizes: list[int]) -> list[Tensor]:
    """A signal of 20 samples in as many blocks as there are sizes, the last with the rest."""
    sizes = [*sizes[:-1], 20]
    ends = [min(20, sum(sizes[: index + 1])) for index in range(len(sizes))]
    return [signal[..., start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


counts = st.lists(st.integers(0, 9), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(first=counts, second=counts)
def test_streams_meet_at_the_sample(first: list[int], second: list[int]) -> None:
    ramp = torch.arange(20.0)
    pair = ramp.expand(3, 20)
    aligned = Aligned(2)
    got: tuple[list[Tensor], list[Tensor]] = ([], [])
    fed = [0, 0]
    for one, two in zip(cut(ramp, first), cut(pair, second), strict=True):
        fed = [fed[0] + one.shape[-1], fed[1] + two.shape[-1]]
        for parts, part in zip(got, aligned.take([one, two]), strict=True):
            parts.append(part)
        assert sum(part.shape[-1] for part in got[0]) == min(fed)
    assert torch.equal(torch.cat(got[0], -1), ramp)
    assert torch.equal(torch.cat(got[1], -1), pair)


@settings(max_examples=60, deadline=None)
@given(sizes=counts, size=st.integers(1, 8))
def test_a_stream_is_cut_anew(sizes: list[int], size: int) -> None:
    ramp = torch.arange(20.0)
    blocks = FixedBlocks(size)
    got = [part for block in cut(ramp, sizes) for part in blocks.feed(block)] + blocks.flush()
    assert [len(part) for part in got[:-1]] == [size] * (len(got) - 1)
    assert torch.equal(torch.cat(got), ramp)


def test_blocks_that_wait_are_copies() -> None:
    blocks = FixedBlocks(4)
    block = torch.ones(3)
    assert blocks.feed(block) == []
    block.zero_()
    assert torch.equal(blocks.flush()[0], torch.ones(3))


def test_a_long_block_is_given_back_as_it_is_used_up() -> None:
    """What waits holds less than twice its own memory, however small its parts leave."""
    blocks = FixedBlocks(3)
    parts = blocks.feed(torch.arange(1000.0))
    rest = blocks._queue._blocks[0]
    assert rest.untyped_storage().nbytes() <= 2 * 4 * len(rest)
    assert torch.equal(torch.cat([*parts, *blocks.flush()]), torch.arange(1000.0))
