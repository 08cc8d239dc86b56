"""Threads that decode ahead of the work and encode behind it, a few blocks at most.

Both keep the order, bound what waits, bring a thread's exception to the caller, and have ended when
their `with` block has: nothing reads or writes after it, whatever ended it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_AHEAD = 4
_BEHIND = 2


@contextlib.contextmanager
def read_ahead(items: Iterable[T], depth: int = _AHEAD) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items`, which a thread takes up to `depth` ahead.

    An exception of `items` is raised where the item would have been.
    """
    ready: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    slots = threading.Semaphore(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                slots.acquire()
                if stop.is_set():
                    return
                ready.put((item,))
        except BaseException as error:  # raised again where the items are used
            ready.put(error)
        else:
            ready.put(None)

    def taken() -> Iterator[T]:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            slots.release()
            yield found[0]

    thread = threading.Thread(target=work, name="read ahead")
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        slots.release()
        thread.join()


class WriteBehind(Generic[T]):
    """Hands items to a function that runs in a thread, up to `depth` of them waiting.

        with WriteBehind(write) as behind:
            for item in items:
                behind.put(item)   # raises what `write` raised for an earlier one

    When the block ends well, all have been written. After an exception in it, those that wait are
    dropped.

    Args:
        write: called with each item, in order, in one thread.
        depth: items that may wait.
    """

    def __init__(self, write: Callable[[T], None], depth: int = _BEHIND) -> None:
        self._write = write
        self._waiting: SimpleQueue[tuple[T] | None] = SimpleQueue()
        self._slots = threading.Semaphore(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write behind")

    def __enter__(self) -> WriteBehind[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hand over an item; wait where too many do.

        Raises:
            BaseException: what `write` raised.
        """
        self._slots.acquire()
        if self._error is not None:
            raise self._error
        self._waiting.put((item,))

    def _work(self) -> None:
        while (found := self._waiting.get()) is not None:
            if self._error is None and not self._stop.is_set():
                try:
                    self._write(found[0])
                except BaseException as error:  # raised again by `put` or at the block's end
                    self._error = error
            self._slots.release()
