"""How much memory a separation takes."""

import pytest
import torch
from torch import nn

from mss.api.memory import (
    BYTES_PER_SAMPLE,
    PROCESS_BYTES,
    PeakMemory,
    chunk_memory,
    memory_warning,
    song_memory,
    streamed_memory,
)
from mss.core.registry import resolve
from mss.core.types import AudioSpec

CPU = torch.device("cpu")
SPEC = AudioSpec(("drums", "vocals"), samplerate=8000, channels=2)


def test_the_peak_is_of_the_block_alone() -> None:
    block = torch.ones(200 << 18)  # 200 MiB
    with PeakMemory(CPU) as with_it:
        block.sum()
    del block
    with PeakMemory(CPU) as without:
        torch.ones(10).sum()
    assert with_it.bytes is not None
    assert without.bytes is not None
    assert 190 << 20 < with_it.bytes - without.bytes < 260 << 20


def test_what_a_device_does_not_tell_is_not_known() -> None:
    with PeakMemory(torch.device("meta")) as peak:
        pass
    assert peak.bytes is None


def test_the_formula_adds_process_weights_and_chunks() -> None:
    model = resolve("model", "openunmix").tiny(SPEC)
    weights = 4 * sum(value.numel() for value in model.parameters())
    once = chunk_memory([model], 1000, 1, CPU)
    assert once >= PROCESS_BYTES + weights + BYTES_PER_SAMPLE * 2000
    assert chunk_memory([model], 1000, 3, CPU) - once == BYTES_PER_SAMPLE * 4000
    assert once - chunk_memory([model], 1000, 1, torch.device("cuda")) == PROCESS_BYTES
    more = chunk_memory([model, model], 1000, 1, CPU) - once
    assert more >= weights
    assert isinstance(model, nn.Module)


def test_a_whole_song_grows_with_its_length_above_what_is_fixed() -> None:
    assert song_memory(1_000, 400, frames=10, chunk_frames=10) == 1_000
    assert song_memory(1_000, 400, frames=100, chunk_frames=10) == 6_400
    assert song_memory(300, 400, frames=100, chunk_frames=10) == 400


def test_a_song_in_chunks_takes_little_more_than_one_of_them() -> None:
    assert streamed_memory(1_000, SPEC, 10) == 1_000 + 2 * 4 * 2 * 2 * 10


@pytest.mark.parametrize(
    ("needed", "free", "whole", "advice"),
    [
        (8 << 30, 16 << 30, True, None),
        (8 << 30, None, True, None),
        (15 << 30, 16 << 30, True, "--segment 10 takes the song in chunks"),
        (15 << 30, 16 << 30, False, "shorter --segment"),
    ],
)
def test_a_warning_comes_before_the_work(
    needed: int, free: int | None, whole: bool, advice: str | None
) -> None:
    warning = memory_warning(needed, free, whole)
    if advice is None:
        assert warning is None
    else:
        assert warning is not None
        assert "about 15.0 GiB of memory and 16.0 GiB are free" in warning
        assert advice in warning
