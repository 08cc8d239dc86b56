"""A chunk function that refuses what is too large, and what is made of that."""

from __future__ import annotations

import logging
import threading
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mss.core.errors import StemgridError
from mss.core.registry import resolve
from mss.core.types import AudioSpec, InferenceDefaults
from mss.infer.out_of_memory import (
    FrugalChunks,
    OutOfMemoryError,
    _cut,
    is_out_of_memory,
    shortest_piece,
)
from mss.infer.separate import separate

SPEC = AudioSpec(("vocals", "other"), samplerate=100, channels=2)


class Limited:
    """Gives 0.25 and 0.75 of its chunks; works in place, and fails where B * T exceeds a limit."""

    def __init__(self, limit: int, error: Exception | None = None) -> None:
        self.limit = limit
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        self.tried: list[tuple[int, int]] = []

    def __call__(self, chunks: Tensor) -> Tensor:
        batch, _, length = chunks.shape
        self.tried.append((batch, length))
        stems = torch.stack([0.25 * chunks, 0.75 * chunks], dim=1)
        chunks.zero_()
        if batch * length > self.limit:
            raise self.error
        return stems


def noise(batch: int, length: int) -> Tensor:
    return torch.randn(batch, 2, length, generator=torch.Generator().manual_seed(0))


def expected(chunks: Tensor) -> Tensor:
    return torch.stack([0.25 * chunks, 0.75 * chunks], dim=1)


def test_what_fits_is_run_once_as_it_is() -> None:
    limited = Limited(4000)
    chunks = noise(4, 1000)
    assert torch.equal(FrugalChunks(limited, SPEC, 100)(chunks), expected(chunks))
    assert limited.tried == [(4, 1000)]


def test_the_batch_is_halved_and_remembered() -> None:
    told: list[str] = []
    limited = Limited(2500)
    frugal = FrugalChunks(limited, SPEC, 100, tell=told.append)
    chunks = noise(7, 1000)
    for _ in range(2):
        assert torch.equal(frugal(chunks), expected(chunks))
    assert limited.tried == [
        (7, 1000),
        (4, 1000),
        *[(2, 1000), (2, 1000), (2, 1000), (1, 1000)] * 2,
    ]
    assert [text.rpartition("(")[2] for text in told] == [
        "--batch-size 4 avoids the attempt)",
        "--batch-size 2 avoids the attempt)",
    ]


def test_a_chunk_is_cut_after_the_batch_and_remembered() -> None:
    told: list[str] = []
    limited = Limited(400)
    frugal = FrugalChunks(limited, SPEC, 100, tell=told.append)
    chunks = noise(2, 1000)
    torch.testing.assert_close(frugal(chunks), expected(chunks), atol=1e-6, rtol=1e-6)
    assert limited.tried[:3] == [(2, 1000), (1, 1000), (1, 667)]
    assert "pieces of at most 6.67 s (--segment 6.67 avoids" in told[1]
    assert "pieces of at most 4.46 s" in told[2]
    assert "pieces of at most 2.98 s" in told[3]
    assert len(told) == 4
    before = len(limited.tried)
    torch.testing.assert_close(frugal(chunks), expected(chunks), atol=1e-6, rtol=1e-6)
    later = limited.tried[before:]
    assert max(batch * length for batch, length in later) <= 400
    assert len(later) == 2 * 5  # five pieces of at most 298 samples cover 1000 with their overlap
    assert len(told) == 4


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_after_the_last_step_the_error_names_what_to_do(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    limited = Limited(0)
    frugal = FrugalChunks(limited, SPEC, 300, device, tell=lambda text: None)
    with pytest.raises(StemgridError) as raised:
        frugal(noise(2, 1000))
    assert isinstance(raised.value, OutOfMemoryError)
    assert [length for _, length in limited.tried] == [1000, 1000, 667, 446]
    assert "--segment" in str(raised.value)
    assert "one chunk of 4.46 s" in str(raised.value)
    assert "(CUDA out of memory. Tried to allocate)" in str(raised.value)
    assert ("--device cpu" in str(raised.value)) is (device != "cpu")
    assert len(emptied) == (3 if device != "cpu" else 0)  # between the attempts


@pytest.mark.parametrize(
    ("error", "caught"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_faults_are_not_taken_for_a_lack_of_memory(error: Exception, caught: bool) -> None:
    assert is_out_of_memory(error) is caught
    frugal = FrugalChunks(Limited(1000, error), SPEC, 100, tell=lambda text: None)
    chunks = noise(2, 1000)
    if caught:
        assert torch.equal(frugal(chunks), expected(chunks))
    else:
        with pytest.raises(type(error)) as raised:
            frugal(chunks)
        assert raised.value is error


def test_the_failed_attempt_is_forgotten_before_the_next() -> None:
    """The exception's frames hold what was computed: it must be gone when memory is asked for."""
    alive: list[bool] = []

    class Activations:
        def __del__(self) -> None:
            alive.remove(True)

    def chunk_fn(chunks: Tensor) -> Tensor:
        assert not alive
        if len(chunks) > 1:
            kept = Activations()
            alive.append(True)
            raise torch.OutOfMemoryError(str(type(kept)))
        return expected(chunks)

    frugal = FrugalChunks(chunk_fn, SPEC, 100, tell=lambda text: None)
    assert frugal(noise(2, 1000)).shape == (2, 2, 2, 1000)


def test_steps_are_logged_where_nobody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FrugalChunks(Limited(1000), SPEC, 100)(noise(2, 1000))
    assert [record.message for record in caplog.records] == [
        "cpu: out of memory; goes on with batches of 1 (--batch-size 1 avoids the attempt)"
    ]


def test_threads_share_what_one_of_them_found_out() -> None:
    told: list[str] = []
    frugal = FrugalChunks(Limited(400), SPEC, 100, tell=told.append)
    results: list[Tensor] = []
    chunks = noise(3, 1000)
    threads = [threading.Thread(target=lambda: results.append(frugal(chunks))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        torch.testing.assert_close(result, expected(chunks), atol=1e-6, rtol=1e-6)
    assert len(told) == len(set(told))


@pytest.mark.parametrize("segment", [Fraction(5), None])
def test_a_whole_recording_survives(segment: Fraction | None) -> None:
    mix = noise(1, 2345)[0]
    inference = InferenceDefaults(segment, normalise="file_mono_std")
    frugal = FrugalChunks(Limited(350), SPEC, 100, tell=lambda text: None)
    stems = separate(frugal, SPEC, inference, mix, batch_size=4)
    plain = separate(Limited(10**6), SPEC, inference, mix, batch_size=4)
    torch.testing.assert_close(stems, plain, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 400_000), st.floats(0.001, 1))
def test_pieces_fit_and_overlap_by_a_quarter(length: int, share: float) -> None:
    longest = max(2, int(share * length))
    plan = _cut(SPEC, length, longest)
    assert plan.segment is not None
    assert plan.stride is not None
    assert plan.segment <= longest or plan.segment == length
    assert plan.segment >= min(length, plan.stride * 4 / 3)


def test_a_model_that_fills_its_segment_up_is_not_cut_below_it() -> None:
    spec = AudioSpec(("drums", "vocals"), samplerate=8000)
    hdemucs, htdemucs = (resolve("model", name).tiny(spec) for name in ("hdemucs", "htdemucs"))
    assert shortest_piece([hdemucs]) == 8000
    longer = type(htdemucs)(type(htdemucs.config)(segment=Fraction(39, 5)), spec)
    assert shortest_piece([hdemucs, longer]) == 62400
