"""A run that is asked to stop ends behind a checkpoint, and goes on as if nothing had been."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from toy_solver import STEPS, assert_same_end, make

from mss.solver.ema import EmaConfig
from mss.solver.solver import ValidConfig
from mss.solver.stop import LAUNCHER_GONE, Stopped, StopRequest


def asked_after(count: int, signum: int = signal.SIGUSR2) -> StopRequest:
    """Return a request that is there from the `count`-th look on."""

    class Counting(StopRequest):
        looks = 0

        @property
        def signum(self) -> int:
            self.looks += 1
            return signum if self.looks > count else 0

    return Counting()


@pytest.mark.parametrize("updates", [0, 1, 3, 5, 11])
def test_stopped_at_any_update_it_ends_bit_equal(tmp_path, updates):
    undisturbed = make(tmp_path / "a")
    undisturbed.solver.run()
    stopped = make(tmp_path / "b", every=0, stop=asked_after(updates))
    with pytest.raises(Stopped) as caught:
        stopped.solver.run()
    assert caught.value.signum == signal.SIGUSR2
    torch.manual_seed(12345)
    resumed = make(tmp_path / "b", every=0)
    done = updates + 1  # it looks after each update
    place = divmod(done, STEPS)
    if place[1] == 0:  # the end of an epoch is not validated yet
        place = (place[0] - 1, STEPS)
    assert (resumed.solver.epoch, resumed.solver.step) == place
    resumed.solver.run()
    assert_same_end(resumed.solver, undisturbed.solver)


def test_stopped_while_it_validates_it_trains_nothing_twice(tmp_path):
    undisturbed = make(tmp_path / "a")
    undisturbed.solver.run()
    calls = iter(range(100))
    stopped = make(tmp_path / "b", every=0)
    score = stopped.solver.parts.validate

    def validate(model, full):
        if next(calls) == 4:  # raw, step, epoch; raw, step
            raise Stopped(signal.SIGTERM)
        return score(model, full)

    stopped.solver.parts.validate = validate
    with pytest.raises(Stopped):
        stopped.solver.run()
    resumed = make(tmp_path / "b", every=0)
    assert (resumed.solver.epoch, resumed.solver.step) == (1, STEPS)
    assert resumed.solver.trained["loss"] == undisturbed.solver.history[1]["train"]["loss"]
    resumed.solver.run()
    assert_same_end(resumed.solver, undisturbed.solver)
    assert resumed.solver.history[1]["train"] == stopped.solver.trained


def test_full_validations_alone_choose_the_best(tmp_path):
    """The third of three epochs has one, being the last; the second would win."""
    seen, values = [], iter([1.0, 9.0, 2.0])

    def validate(model, full):
        seen.append(full)
        return {"score": next(values), "loss": 1.0}

    made = make(tmp_path, ema=EmaConfig(), valid=ValidConfig(metric="score", every=2, subset=1))
    heard = []
    made.solver.parts.validate = validate
    made.solver.parts.schedule.on_epoch = heard.append
    made.solver.parts.test = None
    history = made.solver.run()
    assert seen == [False, True, True]
    assert [epoch["valid"]["full"] for epoch in history] == seen
    assert [epoch["valid"]["best"] for epoch in history] == [None, 9.0, 9.0]
    assert made.solver.best["epoch"] == 2
    assert heard == [None, 1.0, 1.0]  # losses of other songs can't be compared


def test_without_a_subset_the_epochs_between_are_not_validated(tmp_path):
    made = make(tmp_path, valid=ValidConfig(metric="score", every=2))
    history = made.solver.run()
    assert history[0]["valid"] == {"full": False}
    assert "score" in history[1]["valid"]
    assert "score" in history[2]["valid"]


def test_signals_set_a_flag_and_a_second_ctrl_c_interrupts():
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    stop = StopRequest().install()
    try:
        assert stop.signum == 0
        signal.raise_signal(signal.SIGINT)
        assert stop.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum == signal.SIGINT  # the first one counts
        assert stop.previous == before
    finally:
        stop.restore()
    assert {s: signal.getsignal(s) for s in before} == before


WATCHER = """
import os, sys, time
from mss.solver.stop import StopRequest
stop = StopRequest().install(watch_parent=True)
print("ready", stop.signum, flush=True)
end = time.monotonic() + 30
while not stop.signum and time.monotonic() < end:
    time.sleep(0.02)
open(sys.argv[1], "w").write(str(int(stop.signum)))
"""
LAUNCHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(60)
"""


def test_ranks_notice_the_end_of_their_launcher(tmp_path):
    """`dora run -d` ends at a TERM without a word to the ranks that it started."""
    told = tmp_path / "told"
    command = [sys.executable, "-c", LAUNCHER, WATCHER, str(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline().split() == ["ready", "0"]
        launcher.terminate()
        launcher.wait()
        launcher.stdout.read()  # the child's end of the pipe closes with it
    assert told.read_text() == str(int(LAUNCHER_GONE))


SHORT = """
import threading
from mss.solver.stop import StopRequest
for _ in range(200):
    StopRequest().install().restore()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
print(threading.active_count())
"""


def test_a_short_life_leaves_no_thread_and_no_word():
    """A run that fails as it is built installs and restores within a millisecond."""
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


DEAF = """
import sys, time
from mss.solver.stop import StopRequest
StopRequest(grace=0.5).install()
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_request_that_nobody_heeds_ends_the_process():
    """A rank may wait for ever in an exchange with one that is gone."""
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as deaf:
        assert deaf.stdout.readline() == b"ready\n"
        deaf.terminate()
        time.sleep(0.2)
        deaf.terminate()  # schedulers do, and it changes nothing
        assert deaf.wait(30) == 143
        told = deaf.stderr.read().decode()
        assert "Asked to stop" in told
        assert "Exception ignored" not in told
