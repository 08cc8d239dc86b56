"""Requests to stop: a signal sets a flag, and the solver heeds it where it can stop cleanly.

A handler that did more (saved, requeued, exited) would do it in the middle of an update, on one
rank, while the others wait for it in the next exchange.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)
"""Ctrl-C, a scheduler's or an operator's end, a scheduler's warning before it."""

LAUNCHER_GONE = signal.SIGTERM
"""What the death of the process that started the ranks of this machine counts as."""


class Stopped(BaseException):
    """A run stopped on request, behind a checkpoint. No error: nothing of it is to be mended."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    A second Ctrl-C stops at once (KeyboardInterrupt).

    Attributes:
        previous: the handlers that `install` replaced, by signal.
    """

    def __init__(self) -> None:
        self.previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._signum = 0
        self._parent: int | None = None

    def install(self, watch_parent: bool = False) -> StopRequest:
        """Take the signals over; only the main thread can.

        Args:
            watch_parent: take the end of the parent process for a request, too.
        """
        assert threading.current_thread() is threading.main_thread()
        for signum in SIGNALS:
            self.previous[signum] = signal.signal(signum, self._note)
        if watch_parent:
            self._parent = os.getppid()
        return self

    def restore(self) -> None:
        """Put the handlers back."""
        while self.previous:
            signum, handler = self.previous.popitem()
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    @property
    def signum(self) -> int:
        """The signal that asked, 0: none did."""
        if not self._signum and self._parent is not None and os.getppid() != self._parent:
            self._signum = LAUNCHER_GONE
        return self._signum

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._signum = self._signum or signum
