"""Several songs at once, in threads that share one model.

torch works outside of Python's interpreter lock, and each thread has its own number of torch
threads. The calling thread only waits: a signal reaches it at once, and no thread is interrupted
in the middle of its clean-up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Task = TypeVar("Task")
Event = TypeVar("Event")
_Message = tuple[Event] | BaseException | None


class Stopped(BaseException):
    """Ends the work of a thread whose results nobody waits for any more."""


class Caller(Generic[Event]):
    """What a thread sees of the one that waits for it."""

    def __init__(self, messages: SimpleQueue[_Message[Event]], stop: threading.Event) -> None:
        self._messages = messages
        self._stop = stop

    def check(self) -> None:
        """Raise Stopped where nobody waits any more. To be called often."""
        if self._stop.is_set():
            raise Stopped

    def tell(self, event: Event) -> None:
        """Send an event, after a check."""
        self.check()
        self._messages.put((event,))


def in_threads(
    tasks: Sequence[Task], work: Callable[[Task, Caller[Event]], None], jobs: int
) -> Generator[Event, None, None]:
    """Run `work` on every task, `jobs` at once, in their order; yield what they tell, as it comes.

    When the iterator is closed, or an exception is raised in it, the threads end where they next
    check; only then does it return.

    Args:
        tasks: what is to be done.
        work: called with a task and with what it tells events to. What it raises ends all.
        jobs: number of threads.
    """
    todo: SimpleQueue[Task] = SimpleQueue()
    for task in tasks:
        todo.put(task)
    messages: SimpleQueue[_Message[Event]] = SimpleQueue()
    stop = threading.Event()

    def loop() -> None:
        caller = Caller(messages, stop)
        while not stop.is_set():
            try:
                task = todo.get_nowait()
            except Empty:
                break
            try:
                work(task, caller)
            except Stopped:
                break
            except BaseException as error:  # raised again in the calling thread
                messages.put(error)
                break
        messages.put(None)

    threads = [threading.Thread(target=loop, name=f"songs {index}") for index in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        running = jobs
        while running:
            message = messages.get()
            if message is None:
                running -= 1
            elif isinstance(message, BaseException):
                raise message
            else:
                yield message[0]
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
