"""What ends the command from outside: Ctrl-C, a scheduler's TERM, a terminal that is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def killed_by_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once, as long as there is nothing to clean up.

    For imports: raised in the middle of torch's or numpy's, a KeyboardInterrupt can get lost.
    """
    if not _is_main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    old = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let the first signal end the block by an exception; what comes after it is ignored.

    So the clean-up is not interrupted. SIGINT raises KeyboardInterrupt, the others SystemExit of
    128 + their number, as a shell reports it. A signal that was ignored before (nohup) stays so.
    """
    if not _is_main_thread():
        yield
        return
    heeded = [
        number
        for name in _NAMES
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) not in (signal.SIG_IGN, None)
    ]

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        # not by print: the signal may have come in the middle of one
        with contextlib.suppress(OSError):
            os.write(2, b"\nstemgrid: stopping when the chunk in work is done\n")
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    old = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
