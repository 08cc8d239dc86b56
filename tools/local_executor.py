"""Starts runs on this machine, some at a time, and leaves none behind.

Every run is a `dora run` of its own, in a process group of its own, so that Ctrl-C reaches this
process alone and nothing of a run outlives it unnoticed.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

from dora.shep import Sheep

from mss.eval.table import plural
from tools.machine import Machine, Placement, group_members

LOG = "local.log"
LOG_LINES = 12  # of a failed run, shown at the end
POLL_SECONDS = 0.2
LINGER_SECONDS = 60  # that ranks have to end after the process which started them
KILL_SECONDS = 10  # that a killed process has until it is gone (it may hang in a file system)
DORA = (sys.executable, "-m", "dora")

PENDING, RUNNING, COMPLETED = "PENDING", "RUNNING", "COMPLETED"
FAILED, CANCELLED = "FAILED", "CANCELLED"
ENDED = (COMPLETED, FAILED, CANCELLED)


class LocalJob:
    """Stands in Dora's table for a SLURM job: a state, and an id while it runs."""

    def __init__(self) -> None:
        self.state = PENDING
        self.job_id = ""
        self.watcher = self

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the state; a SLURM job's watcher has this name for it."""
        return self.state

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether it has ended."""
        return self.state in ENDED


@dataclass
class LocalRun:
    """A run of the grid on this machine.

    Attributes:
        sheep: of Dora.
        placement: what it gets.
        job: its state.
        process: that trains it, in a process group of its own.
        gpus: that it holds.
        log_start: where its last start begins in the log (bytes).
        ended: when its process ended (monotonic seconds); others of its group may live on.
        failure: what went wrong.
    """

    sheep: Sheep
    placement: Placement
    job: LocalJob = field(default_factory=LocalJob)
    process: subprocess.Popen[bytes] | None = None
    gpus: tuple[str, ...] = ()
    log_start: int = 0
    ended: float | None = None
    failure: str = ""

    def __post_init__(self) -> None:
        # what the table asks; a SLURM job that is on record is not this machine's
        self.sheep.job = self.job  # type: ignore[assignment]
        self.sheep._other_jobs, self.sheep._dependent_jobs = [], []

    @property
    def signature(self) -> str:
        """Of the run."""
        return str(self.sheep.xp.sig)

    @property
    def log(self) -> Path:
        """What the run prints."""
        return Path(self.sheep.xp.folder) / LOG

    def arguments(self) -> list[str]:
        """Return what `dora` is to do."""
        ranks = self.placement.ranks
        distributed = ["-d", f"--ddp_workers={ranks}"] if ranks > 1 else []
        return ["-P", "mss", "run", *distributed, *self.sheep.xp.argv]

    def last_lines(self) -> str:
        """Return the end of what it printed since it was last started."""
        try:
            with self.log.open("rb") as log:
                log.seek(self.log_start)
                text = log.read().decode("utf-8", errors="replace")
        except OSError as error:
            return f"({error})"
        return "\n".join(text.splitlines()[-LOG_LINES:])


class LocalExecutor:
    """Starts runs in order, `jobs` at a time, each on GPUs of its own.

    A run that has to wait for GPUs holds back those behind it: the order is the grid's.
    """

    def __init__(
        self,
        runs: Sequence[LocalRun],
        jobs: int,
        machine: Machine,
        dora: Sequence[str] = DORA,
        grace: float = 300,
        tell: Callable[[str], None] = print,
    ) -> None:
        """
        Args:
            runs: to be started, none of them finished.
            jobs: at a time.
            machine: its GPUs and cores.
            dora: the command.
            grace: seconds that a stopped run has for its checkpoint.
            tell: takes a line on what happens.
        """
        self.waiting = list(runs)
        self.running: list[LocalRun] = []
        self.jobs = jobs
        self.machine = machine
        self.free = list(machine.gpus)
        self.dora = tuple(dora)
        self.grace = grace
        self.tell = tell
        self.stopped_by = 0  # signal
        self._stopping = False
        self._impatient = False
        self._jobs_at_once = max(1, min(jobs, len(runs)))

    def execute(self, on_change: Callable[[], None]) -> None:
        """Run all, or until a signal stops it; none of the processes is left behind.

        Args:
            on_change: called often; for a table.
        """
        with self._signals():
            try:
                while not self.stopped_by and (self.waiting or self.running):
                    self._start_what_fits()
                    self._look()
                    on_change()
                    time.sleep(POLL_SECONDS)
            finally:
                try:
                    self._stop()
                finally:
                    self._kill()

    # -- start ---------------------------------------------------------------------------------

    def _start_what_fits(self) -> None:
        while self.waiting and len(self.running) < self.jobs and not self.stopped_by:
            if self.waiting[0].placement.gpus > len(self.free):
                return
            self._start(self.waiting.pop(0))

    def _start(self, run: LocalRun) -> None:
        run.gpus = tuple(self.free.pop(0) for _ in range(run.placement.gpus))
        self.running.append(run)
        try:
            run.process = self._spawn(run)
        except OSError as error:  # of the folder, the log or the program
            self._end(run, f"could not be started: {error}")
            return
        run.job.state, run.job.job_id = RUNNING, str(run.process.pid)
        where = f"GPU {', '.join(run.gpus)}" if run.gpus else "the CPU"
        ranks = f" in {run.placement.ranks} processes" if run.placement.ranks > 1 else ""
        self.tell(f"{run.signature} starts on {where}{ranks}; its log: {run.log}")

    def _spawn(self, run: LocalRun) -> subprocess.Popen[bytes]:
        command = [*self.dora, *run.arguments()]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        # a run that is stopped here must not requeue the job in which this grid may run
        environment.pop("STEMGRID_REQUEUE", None)
        if self.machine.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(run.gpus)
        threads = self.threads(run)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        run.log.parent.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log:
            run.log_start = log.tell()
            log.write(f"{datetime.now():%F %T} {shlex.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def threads(self, run: LocalRun) -> int:
        """Return how many threads each process of a run gets; 0: nothing is said about it.

        Runs that train side by side share the cores, unless the user has said how many threads
        there are to be.
        """
        processes = self._jobs_at_once * run.placement.ranks
        if processes == 1 or "OMP_NUM_THREADS" in os.environ or run.sheep.xp.cfg.misc.threads:
            return 0
        return max(1, self.machine.cores // processes)

    # -- end -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take note of what has ended."""
        for run in list(self.running):
            assert run.process is not None
            status = run.process.poll()
            if status is None:
                continue
            # Ranks may outlive the process that started them; until they end, the GPUs are theirs.
            if not group_members(run.process.pid):
                self._end(run, _reason(status))
                continue
            run.ended = run.ended or time.monotonic()
            if not self._stopping and time.monotonic() - run.ended > LINGER_SECONDS:
                _kill_group(run)

    def _end(self, run: LocalRun, failure: str) -> None:
        self.running.remove(run)
        self.free = sorted([*self.free, *run.gpus], key=self.machine.gpus.index)
        run.gpus, run.job.job_id, run.failure = (), "", failure
        if not failure:
            run.job.state = COMPLETED
        else:
            run.job.state = CANCELLED if self._stopping else FAILED
        self.tell(f"{run.signature} {run.job.state.lower()}" + (f" ({failure})" if failure else ""))

    # -- stop ----------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let Ctrl-C, TERM and the end of the terminal stop the grid; a second one, at once."""

        def note(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self._impatient = bool(self.stopped_by)
            self.stopped_by = self.stopped_by or signum

        handlers = {}
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
                handlers[signum] = signal.signal(signum, note)
        try:
            yield
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)

    def _stop(self) -> None:
        """Ask what runs to stop behind a checkpoint, and wait for it."""
        self._stopping = True
        if not self.running:
            return
        self.tell(
            f"Stopping {plural(len(self.running), 'run')} behind a checkpoint "
            f"(at most {self.grace:g} s; Ctrl-C or TERM once more: at once)"
        )
        for run in self.running:
            _ask_to_stop(run)
        deadline = time.monotonic() + self.grace
        while self.running and not self._impatient and time.monotonic() < deadline:
            self._look()
            time.sleep(POLL_SECONDS)

    def _kill(self) -> None:
        """Leave nothing behind."""
        for run in self.running:
            _kill_group(run)
        for run in list(self.running):
            assert run.process is not None
            status = run.process.wait()
            deadline = time.monotonic() + KILL_SECONDS
            while group_members(run.process.pid) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            self._end(run, _reason(status) or "killed")


def _reason(status: int) -> str:
    """Return how a process failed; empty if it did not."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else ""


def _ask_to_stop(run: LocalRun) -> None:
    """Send TERM to the processes that train, and not to those that read the data for them."""
    assert run.process is not None
    ranks = [
        member.pid
        for member in group_members(run.process.pid)
        if run.placement.ranks > 1 and member.parent == run.process.pid
    ]
    for pid in [*ranks, run.process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _kill_group(run: LocalRun) -> None:
    assert run.process is not None
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGKILL)
