"""Requests to stop: a signal sets a flag, and the solver heeds it where it can stop cleanly.

A handler that did more (saved, requeued, exited) would do it in the middle of an update, on one
rank, while the others wait for it in the next exchange.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)
)
"""Ctrl-C, a scheduler's or an operator's end, a scheduler's warning before it."""

LAUNCHER_GONE = signal.SIGTERM
"""What the death of the process that started the ranks of this machine counts as."""


STATUS = 143
"""Of a process that did not heed a request: 128 + SIGTERM."""


class Stopped(BaseException):
    """A run stopped on request, behind a checkpoint. No error: nothing of it is to be mended."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopRequest:
    """Whether this process was asked to stop, and by which signal.

    A second Ctrl-C stops at once (KeyboardInterrupt). A request that is not heeded within `grace`
    seconds ends the process: a rank that waits in an exchange for one that is gone hears nothing.

    Attributes:
        previous: the handlers that `install` replaced, by signal.
    """

    def __init__(self, grace: float = 600.0) -> None:
        self.previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self.grace = grace
        self._signum = 0
        self._parent: int | None = None
        self._heeded = threading.Event()
        # both ends stay open: later signals must have somewhere to go
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def install(self, watch_parent: bool = False) -> StopRequest:
        """Take the signals over; only the main thread can.

        Args:
            watch_parent: take the end of the parent process for a request, too.
        """
        assert threading.current_thread() is threading.main_thread()
        if watch_parent:
            self._parent = os.getppid()
        # The interpreter writes each signal's number there as it arrives, also while the main
        # thread is in an exchange and no handler of Python's could run.
        read, write = socket.socketpair()
        read.settimeout(1.0)
        write.setblocking(False)
        self._wakeup = read, write
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        for signum in SIGNALS:
            self.previous[signum] = signal.signal(signum, self._note)
        return self

    def restore(self) -> None:
        """Put the handlers back."""
        self.heed()
        while self.previous:
            signum, handler = self.previous.popitem()
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            _, write = self._wakeup
            write.close()  # which the thread reads as an end
            self._wakeup = None

    def heed(self) -> None:
        """Tell that the request was heard: the process is on its way to its end."""
        self._heeded.set()

    @property
    def signum(self) -> int:
        """The signal that asked, 0: none did."""
        if not self._signum and self._orphaned():
            self._signum = LAUNCHER_GONE
        return self._signum

    def _orphaned(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._signum = self._signum or signum

    def _watch(self, read: socket.socket) -> None:
        """Wait for a request, in a thread; end the process where nobody heeds it."""
        while not self._orphaned():
            try:
                arrived = read.recv(64)
            except TimeoutError:
                continue
            if not arrived:  # `restore` closed the other end
                return
            if set(arrived) & set(SIGNALS):
                break
        if not self._heeded.wait(self.grace):
            logger.error("Asked to stop %.0f s ago and not done: ending at once", self.grace)
            os._exit(STATUS)
