"""What is chosen for a machine: with a clock of our own, so that nothing depends on this one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mss.api import probe as probing
from mss.api.probe import Measurement, Probe, Tuning, measure, tune
from mss.core.cache import CACHE_VARIABLE
from mss.core.types import AudioSpec

SPEC = AudioSpec(("drums", "vocals"), samplerate=1000, channels=2)
LONG = 1000.0  # seconds of audio: 100 chunks


class Machine:
    """Separates a batch in seconds that are told for its threads and size; counts the calls."""

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self._seconds = seconds
        self.now = 0.0
        self.calls: list[tuple[int, int]] = []

    def chunk_fn(self, threads: int) -> Callable[[Tensor], Tensor]:
        def run(chunks: Tensor) -> Tensor:
            if chunks.device.type == "cpu":
                assert torch.get_num_threads() == threads
            self.calls.append((threads, len(chunks)))
            self.now += self._seconds(threads, len(chunks))
            stems = torch.stack([chunks, chunks], dim=1)
            chunks.zero_()
            return stems

        return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(probing, "available_threads", lambda: 4)
    return tmp_path / "cache"


def make(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int, int], float], device: str = "cpu"
) -> tuple[Machine, Probe]:
    machine = Machine(seconds)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: machine.now)
    if device != "cpu":
        monkeypatch.setattr(probing, "device_title", str)
        monkeypatch.setattr(probing, "free_memory", lambda device: None)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: None)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 100)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    probe = Probe(machine.chunk_fn, SPEC, 12_000, 10_000, torch.device(device), "a model")
    return machine, probe


@pytest.mark.parametrize(
    ("every", "half", "expected"),
    [(2.0, 4.0, 4), (2.0, 1.0, 2), (2.0, 1.95, 4)],  # the last: not faster by a twentieth
)
def test_a_cpu_takes_half_the_threads_where_that_is_faster(
    every: float, half: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: every if threads == 4 else half)
    tuned = tune(probe, audio_seconds=LONG)
    assert (tuned.threads, tuned.batch_size) == (expected, 1)
    assert machine.calls == [(4, 1), (4, 1), (2, 1)]
    assert tuned.measured is not None
    assert tuned.measured.speed == pytest.approx(10.0 / (every if expected == 4 else half))


def test_it_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: 1.0)
    first = tune(probe, audio_seconds=LONG)
    calls = len(machine.calls)
    assert tune(probe, audio_seconds=LONG) == first
    assert tune(probe) == first  # a short job profits from what a long one found out
    assert len(machine.calls) == calls
    tune(replace(probe, content="another model"), audio_seconds=LONG)
    assert len(machine.calls) == 2 * calls


@pytest.mark.parametrize("seconds", [None, 10.0, 299.0])
def test_a_short_job_is_not_held_up(
    seconds: float | None, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: 1.0)
    assert tune(probe, audio_seconds=seconds) == Tuning(4, 1)
    assert machine.calls == []
    assert not own_cache.exists()


def test_what_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: float(threads))
    assert tune(probe, threads=3, audio_seconds=LONG) == Tuning(3, 1)
    assert machine.calls == []
    assert tune(probe, audio_seconds=LONG).threads == 2
    assert tune(probe, threads=3, batch_size=5) == Tuning(3, 5)
    assert tune(probe, batch_size=5) == Tuning(2, 5)


def test_one_thread_leaves_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: 1.0)
    monkeypatch.setattr(probing, "available_threads", lambda: 1)
    assert tune(probe, audio_seconds=LONG) == Tuning(1, 1)
    assert machine.calls == []


def test_a_gpu_takes_larger_batches_while_they_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    # a chunk: 1, 0.7, 0.5, 0.49 s
    seconds = {1: 1.0, 2: 1.4, 4: 2.0, 8: 3.92}
    machine, probe = make(monkeypatch, lambda threads, batch: seconds[batch], "cuda")
    tuned = tune(probe, audio_seconds=10 * LONG)
    assert (tuned.threads, tuned.batch_size) == (4, 4)
    assert tuned.measured == Measurement(4, 4, pytest.approx(20.0), 100)
    assert machine.calls == [(4, size) for size in (1, 1, 2, 2, 4, 4, 8, 8)]


def test_a_gpu_that_is_not_probed_gets_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    _, probe = make(monkeypatch, lambda threads, batch: 1.0, "cuda")
    assert tune(probe, audio_seconds=LONG) == Tuning(4, probing.GUESSED_GPU_BATCH)


def test_a_gpu_stops_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(threads: int, batch: int) -> float:
        if batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    machine, probe = make(monkeypatch, seconds, "cuda")
    assert tune(probe, audio_seconds=10 * LONG).batch_size == 2
    machine, probe = make(monkeypatch, lambda threads, batch: 1.0, "cuda")
    monkeypatch.setattr(probing, "free_memory", lambda device: 99)
    assert tune(replace(probe, content="b"), audio_seconds=10 * LONG).batch_size == 1
    assert [batch for _, batch in machine.calls] == [1, 1]


def test_other_faults_of_a_probe_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(threads: int, batch: int) -> float:
        if batch > 1:
            raise RuntimeError("shapes do not match")
        return 1.0

    _, probe = make(monkeypatch, seconds, "cuda")
    with pytest.raises(RuntimeError, match="shapes"):
        tune(probe, audio_seconds=10 * LONG)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"threads": 0}', "\xff"])
def test_a_damaged_result_is_made_anew(
    content: str, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    machine, probe = make(monkeypatch, lambda threads, batch: 1.0)
    tune(probe, audio_seconds=LONG)
    [path] = own_cache.rglob("*.json")
    path.write_text(content, encoding="latin-1")
    assert tune(probe, audio_seconds=LONG).threads == 4
    assert len(machine.calls) == 6
    assert json.loads(path.read_text())["threads"] == 4


def test_a_cache_that_cannot_be_written_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    _, probe = make(monkeypatch, lambda threads, batch: 1.0)
    assert tune(probe, audio_seconds=LONG).measured is not None


def test_speed_is_of_the_song_not_of_its_overlapping_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, probe = make(monkeypatch, lambda threads, batch: 5.0)
    found = measure(probe, 1, 2)
    assert found.speed == pytest.approx(2 * 10.0 / 5.0)
    assert found.memory_bytes is None or found.memory_bytes > 1 << 20
