"""What the end of a stopped process is: the queue, or a status."""

import os
import signal
import time
from pathlib import Path

import pytest

from mss import requeue
from mss.solver.stop import StopRequest


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A stand-in that notes its calls; return (set the job's state, the calls)."""
    calls = tmp_path / "calls"
    calls.touch()
    program = tmp_path / "scontrol"

    def make(state: str, requeue_status: int = 0) -> Path:
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {calls}\n'
            f'case $1 in show) echo "JobId=7 JobName=x JobState={state} Reason=None";;\n'
            f"requeue) echo refused >&2; exit {requeue_status};; esac\n"
        )
        program.chmod(0o755)
        return calls

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("STEMGRID_REQUEUE", "1")
    monkeypatch.setattr(requeue, "_wait_for_the_end", lambda: (_ for _ in ()).throw(Waited))
    return make


class Waited(Exception):
    """The process waits for the scheduler to end it."""


def status_of(signum: int, stop: StopRequest | None = None) -> int:
    with pytest.raises(SystemExit) as caught:
        requeue.leave(stop or StopRequest(), signum)
    return caught.value.code


def test_without_a_scheduler_the_status_tells_the_signal(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert status_of(signal.SIGTERM) == 143
    assert status_of(signal.SIGUSR2) == 143
    assert status_of(signal.SIGINT) == 130


def test_a_job_of_sbatch_is_requeued_and_waits_for_its_end(scontrol):
    calls = scontrol("RUNNING")
    with pytest.raises(Waited):
        requeue.leave(StopRequest(), signal.SIGUSR2)
    assert calls.read_text().splitlines() == ["show job --oneliner 7", "requeue 7"]


def test_a_cancelled_job_is_not_brought_back(scontrol):
    calls = scontrol("COMPLETING")  # its state while its processes may still save
    assert status_of(signal.SIGTERM) == 143
    assert "requeue" not in calls.read_text()


def test_a_controller_that_does_not_answer_is_asked_again(scontrol, monkeypatch, caplog):
    scontrol("RUNNING")
    monkeypatch.setattr(requeue.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("PATH", "")
    assert status_of(signal.SIGUSR2) == 143
    assert caplog.text.count("The state of job 7 is not known") == requeue.ATTEMPTS
    assert "Job 7 can't be requeued" in caplog.text  # it was tried all the same


def test_ctrl_c_in_a_job_ends_it(scontrol):
    calls = scontrol("RUNNING")
    assert status_of(signal.SIGINT) == 130
    assert calls.read_text() == ""


def test_a_process_that_merely_runs_in_a_job_does_not_requeue_it(scontrol, monkeypatch):
    """A shell's run, or one of a local grid, which is stopped by a TERM at a Ctrl-C."""
    calls = scontrol("RUNNING")
    monkeypatch.delenv("STEMGRID_REQUEUE")
    assert status_of(signal.SIGTERM) == 143
    assert calls.read_text() == ""


def test_the_last_part_of_an_array_does_not_bring_all_of_it_back(scontrol, monkeypatch):
    """Its SLURM_JOB_ID is the number of the whole array."""
    calls = scontrol("RUNNING")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(Waited):
        requeue.leave(StopRequest(), signal.SIGUSR2)
    assert calls.read_text().splitlines()[-1] == "requeue 7_2"


def test_a_job_that_can_not_be_requeued_is_told(scontrol, caplog):
    scontrol("RUNNING", requeue_status=1)
    assert status_of(signal.SIGUSR2) == 143
    assert "Job 7 can't be requeued: refused" in caplog.text


def test_other_ranks_leave_the_requeue_to_the_main_one(scontrol, monkeypatch):
    calls = scontrol("RUNNING")
    monkeypatch.setattr("mss.core.distrib.rank", lambda: 1)
    monkeypatch.setattr("mss.core.distrib.broadcast", lambda value: True)  # what rank 0 found
    with pytest.raises(Waited):
        requeue.leave(StopRequest(), signal.SIGUSR2)
    assert "requeue" not in calls.read_text()


def test_submitit_s_own_handler_requeues_its_jobs(scontrol, monkeypatch):
    """It keeps count of the time-outs and writes what the next start reads."""
    from submitit.core.job_environment import SignalHandler

    calls = scontrol("RUNNING")
    seen = []

    class Handler(SignalHandler):
        def __init__(self) -> None:
            """Nothing of a job."""

        def checkpoint_and_try_requeue(self, signum, frame=None):
            seen.append(signum)
            raise SystemExit(255)

    Handler.__module__ = SignalHandler.__module__
    monkeypatch.delenv("STEMGRID_REQUEUE")
    stop = StopRequest()
    stop.previous[signal.SIGUSR2] = Handler().checkpoint_and_try_requeue
    assert status_of(signal.SIGTERM, stop) == 255
    assert seen == [signal.SIGUSR2]
    assert "requeue" not in calls.read_text()


def test_a_waiting_rank_can_be_ended(tmp_path):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            requeue._wait_for_the_end()
        finally:
            os._exit(1)
    end = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < end
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
