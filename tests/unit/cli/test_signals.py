"""Signals end the work once, and what is cleaned up is not interrupted."""

from __future__ import annotations

import os
import signal

import pytest

from mss.cli.signals import killed_by_interrupt, stopped_by_signals

SIGNALS = [
    (signal.SIGINT, KeyboardInterrupt, None),
    (signal.SIGTERM, SystemExit, 143),
    (signal.SIGHUP, SystemExit, 129),
]


@pytest.fixture(autouse=True)
def _pythons_own_handlers() -> object:
    """A shell starts what runs in the background with SIGINT ignored."""
    before = {each: signal.getsignal(each) for each, _, _ in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize(("sent", "kind", "code"), SIGNALS)
def test_the_first_signal_ends_the_block_and_the_next_ones_do_nothing(
    sent: signal.Signals, kind: type[BaseException], code: int | None
) -> None:
    before = {each: signal.getsignal(each) for each, _, _ in SIGNALS}
    cleaned: list[bool] = []

    def work() -> None:
        with stopped_by_signals():
            try:
                os.kill(os.getpid(), sent)
            finally:
                for each, _, _ in SIGNALS:
                    os.kill(os.getpid(), each)
                cleaned.append(True)

    with pytest.raises(kind) as raised:
        work()
    assert cleaned
    assert code is None or getattr(raised.value, "code", None) == code
    assert {each: signal.getsignal(each) for each, _, _ in SIGNALS} == before


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with stopped_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_an_interrupt_kills_where_nothing_is_to_be_cleaned_up() -> None:
    with killed_by_interrupt():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with killed_by_interrupt():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
