"""How many threads this process may use."""

import os

import pytest
import torch

from mss.api import threads
from mss.api.threads import available_threads, torch_threads


@pytest.mark.parametrize(
    ("cores", "quota", "told", "expected"),
    [
        (8, None, "", 8),
        (8, 2.0, "", 2),
        (8, 2.5, "", 3),
        (2, 16.0, "", 2),
        (4, 0.1, "", 1),
        (8, None, "3", 3),
        (8, 4.0, "6,1", 4),
        (8, None, "many", 8),
        (8, None, "0", 1),
    ],
)
def test_the_least_of_cores_quota_and_what_openmp_is_told(
    cores: int, quota: float | None, told: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert available_threads() == expected


def test_where_a_process_is_bound_to_no_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads() == 6


def test_torch_has_its_own_number_again_after_an_error() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def fail() -> None:
        with torch_threads(before + 2):
            seen.append(torch.get_num_threads())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [before + 2]
    assert torch.get_num_threads() == before
