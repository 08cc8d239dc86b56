"""Does one step of a pipeline: `python -m tools.pipeline_worker FOLDER [--ranks N]`.

What is to be done stands in the folder (tools.pipeline_folder). One process does it at a time; one
that comes second waits, and finds it done. Signals are passed on to the command. Without
step.json, which is written last, nothing counts: what is left of a killed step is removed, or gone
on with, by the next attempt.

In a SLURM job of several tasks each task comes here; the first does the bookkeeping.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from mss.core.errors import StemgridError
from tools.machine import group_members
from tools.pipeline_folder import Claim, StepFolder, Task, found, missing

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
POLL_SECONDS = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Do the step; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.pipeline_worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the step")
    parser.add_argument("--ranks", type=int, default=1, help="processes that its command starts")
    args = parser.parse_args(argv)
    folder = StepFolder(args.folder)
    try:
        if int(os.environ.get("RANK", 0)) > 0:
            return _follow(folder)
        before = folder.failure_time
        with _wait_for_the_claim(folder) as claim:
            if folder.is_done():
                _tell("done already")
                return 0
            if folder.failure_time not in (0, before):
                _tell(f"failed where it was done: {folder.failure}")
                return 1
            return _attempt(folder, folder.read_task(), args.ranks, claim)
    except (StemgridError, OSError) as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 1


def _follow(folder: StepFolder) -> int:
    """Become the command, as a task of a job whose first task does the rest."""
    task = folder.read_task()
    if folder.is_done() or not task.distributed:
        return 0
    command = [sys.executable, *task.command()]
    os.execve(sys.executable, command, {**os.environ, **task.environment})


def _wait_for_the_claim(folder: StepFolder) -> Claim:
    """Return the claim on the step, when nobody else has it."""
    told = False
    while True:
        claim = Claim(folder)
        while not claim.take():
            if not told:
                _tell("another process is at this step; waiting for its end")
            told = True
            time.sleep(POLL_SECONDS)
        if claim.is_of_this_folder():
            return claim
        claim.close()


def _attempt(folder: StepFolder, task: Task, ranks: int, claim: Claim) -> int:
    """Run the command and note how it went; return the exit status."""
    folder.forget_failure()
    if not task.resumes and folder.out.exists():
        shutil.rmtree(folder.out)
    started = time.monotonic()
    with _Signals(ranks) as signals:
        status = _run(task, ranks, claim, signals)
    if signals.received:
        return 128 + signals.received
    absent = missing(task.expected)
    if status == 0 and not absent:
        folder.record_done(task, found(task.expected), time.monotonic() - started)
        return 0
    reason = _reason(status) or f"ended well, but left no {', '.join(absent)}"
    _tell(reason)
    folder.record_failure(reason)
    return status if status > 0 else 1


def _run(task: Task, ranks: int, claim: Claim, signals: _Signals) -> int:
    command = [sys.executable, *task.command(ranks)]
    _tell(shlex.join(command))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **task.environment},
        pass_fds=(claim.descriptor,),
    )
    signals.pass_on_to(process)
    return process.wait()


def _reason(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else ""


def _tell(line: str) -> None:
    print(f"pipeline: {line}", flush=True)


class _Signals:
    """Passes signals on to the command, and keeps the first."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.received = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}

    def pass_on_to(self, process: subprocess.Popen[bytes]) -> None:
        """Pass signals on to this process, also one that came before."""
        self._process = process
        if self.received:
            self._send(self.received)

    def __enter__(self) -> _Signals:
        self._handlers = {number: signal.signal(number, self._note) for number in PASSED_ON}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = self.received or signum
        self._send(signum)

    def _send(self, signum: int) -> None:
        if self._process is None:
            return
        if self.ranks > 1:  # those that train, before the one which started them
            for member in group_members(os.getpgid(0)):
                if member.parent == self._process.pid:
                    with suppress(ProcessLookupError):
                        os.kill(member.pid, signum)
        self._process.send_signal(signum)


if __name__ == "__main__":
    sys.exit(main())
