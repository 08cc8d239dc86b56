"""Threads ahead of the work and behind it: order, bounds, errors, and that they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mss.infer.pipeline import WriteBehind, read_ahead


class Stop(BaseException):
    """As KeyboardInterrupt is, no Exception."""


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_order_is_kept(depth: int) -> None:
    written: list[int] = []
    with WriteBehind(written.append, depth) as behind, read_ahead(range(50), depth) as items:
        for item in items:
            behind.put(item)
    assert written == list(range(50))


def test_no_more_is_read_than_the_depth() -> None:
    taken: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            if item == 3:
                third.set()
            yield item

    with read_ahead(items(), depth=3) as ahead:
        assert third.wait(10)  # three are ready, and the fourth waits for a place
        assert next(ahead) == 0
    assert len(taken) <= 5


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise Stop

    seen: list[int] = []

    def use() -> None:
        with read_ahead(items()) as ahead:
            seen.extend(ahead)  # what was taken before the error stays

    with pytest.raises(Stop):
        use()
    assert seen == [1, 2]


def test_a_reader_that_waits_ends_with_its_block() -> None:
    def use() -> None:
        with read_ahead(range(10**9), depth=2) as items:
            next(items)
            raise Stop

    with pytest.raises(Stop):
        use()


def test_an_error_of_the_writer_reaches_a_later_put() -> None:
    failed = threading.Event()
    written: list[int] = []

    def write(item: int) -> None:
        if item == 2:
            failed.set()
            raise Stop
        written.append(item)

    def use() -> None:
        with WriteBehind(write, depth=1) as behind:
            for item in range(10**6):
                behind.put(item)

    with pytest.raises(Stop):
        use()
    assert failed.is_set()
    assert written == [0, 1]


def test_an_error_of_the_last_item_is_raised_at_the_end() -> None:
    def write(item: int) -> None:
        raise Stop

    with pytest.raises(Stop), WriteBehind(write) as behind:
        behind.put(0)


def test_what_waits_is_dropped_after_an_error_in_the_block() -> None:
    busy, go_on = threading.Event(), threading.Event()
    written: list[int] = []

    def write(item: int) -> None:
        busy.set()
        assert go_on.wait(10)
        written.append(item)

    later = threading.Timer(0.05, go_on.set)

    def use() -> None:
        with WriteBehind(write, depth=3) as behind:
            behind.put(0)
            assert busy.wait(10)
            behind.put(1)
            later.start()
            raise Stop

    with pytest.raises(Stop):
        use()
    later.join()
    assert written == [0]
