"""Work in threads, told to the one that waits."""

from __future__ import annotations

import contextlib
import threading

import pytest

from mss.api.jobs import Caller, in_threads


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_task_is_done_once(jobs: int) -> None:
    def work(task: int, caller: Caller[int]) -> None:
        caller.tell(task * task)

    assert sorted(in_threads(range(20), work, jobs)) == [task * task for task in range(20)]


def test_one_job_keeps_the_order_and_none_is_no_work() -> None:
    def work(task: int, caller: Caller[int]) -> None:
        caller.tell(task)

    assert list(in_threads(range(9), work, 1)) == list(range(9))
    assert list(in_threads([], work, 1)) == []


def test_jobs_run_at_once() -> None:
    both = threading.Barrier(2, timeout=10)

    def work(task: int, caller: Caller[int]) -> None:
        both.wait()

    assert list(in_threads(range(2), work, 2)) == []


def test_an_error_ends_all_threads() -> None:
    before = threading.active_count()

    def work(task: int, caller: Caller[int]) -> None:
        if task == 3:
            raise ZeroDivisionError
        while True:
            caller.check()

    with pytest.raises(ZeroDivisionError):
        list(in_threads(range(2, 9), work, 2))
    assert threading.active_count() == before


def test_closing_ends_all_threads() -> None:
    before = threading.active_count()
    begun: list[int] = []

    def work(task: int, caller: Caller[int]) -> None:
        begun.append(task)
        while True:
            caller.tell(task)

    with contextlib.closing(in_threads(range(9), work, 2)) as told:
        next(told)
    assert threading.active_count() == before
    assert set(begun) <= {0, 1}
