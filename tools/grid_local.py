"""Run a grid on this machine, with the table of `dora grid`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dora.grid import RunGridArgs, monitor
from dora.hydra import HydraMain

from grids._history import HISTORY
from mss.eval.table import plural
from tools.grid_runs import GridRuns, finished
from tools.local_executor import COMPLETED, DORA, FAILED, LocalExecutor, LocalRun
from tools.machine import Machine, place, this_machine


class Table:
    """Dora's table of the grid, printed when something has changed, but not all the time."""

    def __init__(self, main: HydraMain, runs: GridRuns, seconds: float) -> None:
        self.main = main
        self.runs = runs
        self.seconds = seconds
        self._shown: object = None
        self._when = float("-inf")

    def refresh(self, now: bool = False) -> None:
        """Print the table if it changed since, and not within the last `seconds`."""
        if not now and time.monotonic() - self._when < self.seconds:
            return
        content = [
            (sheep.state(), _changed(sheep.xp.folder / HISTORY)) for sheep in self.runs.sheeps
        ]
        if not now and content == self._shown:
            return
        self._shown, self._when = content, time.monotonic()
        print(f"\n{datetime.now():%F %T}", flush=True)
        try:
            monitor(RunGridArgs(), self.main, self.runs.explorer, self.runs.sheeps, print)
        except (OSError, ValueError) as error:  # a damaged history must not end the other runs
            print(f"No table: {error}")
        print(flush=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def run_here(
    main: HydraMain,
    runs: GridRuns,
    jobs: int | None = None,
    refresh: float = 30,
    grace: float = 300,
    machine: Machine | None = None,
    dora: Sequence[str] = DORA,
) -> int:
    """Run a grid on this machine; return the exit status (see tools.grid).

    Args:
        main: of the lab.
        runs: of the grid.
        jobs: at a time; None: one a GPU, or one.
        refresh: seconds between tables.
        grace: seconds that a stopped run has for its checkpoint.
        machine: None: this one.
        dora: the command.
    """
    machine = machine or this_machine()
    local = [
        LocalRun(sheep, place(runs.slurm[sheep.xp.sig].gpus, machine)) for sheep in runs.sheeps
    ]
    todo = []
    for run in local:
        if finished(run.sheep):
            run.job.state = COMPLETED
        else:
            todo.append(run)
    _link(main, runs)
    executor = LocalExecutor(todo, jobs or max(1, len(machine.gpus)), machine, dora, grace, _tell)
    table = Table(main, runs, refresh)
    _explain(runs, local, todo, executor)
    executor.execute(table.refresh)
    table.refresh(now=True)
    return _outcome(local, executor.stopped_by)


def _tell(line: str) -> None:
    print(f"{datetime.now():%T} {line}", flush=True)


def _link(main: HydraMain, runs: GridRuns) -> None:
    """Link the runs into the grid's folder, as `dora grid` does."""
    folder = main.dora.dir / main.dora._grids / runs.name
    folder.mkdir(parents=True, exist_ok=True)
    for sheep in runs.sheeps:
        link = folder / sheep.xp.sig
        if not link.is_symlink() and not link.exists():
            link.symlink_to(sheep.xp.folder)


def _explain(
    runs: GridRuns, local: Sequence[LocalRun], todo: Sequence[LocalRun], executor: LocalExecutor
) -> None:
    """Say what is going to run, and on what."""
    machine = executor.machine
    done = len(local) - len(todo)
    has = f"{plural(len(machine.gpus), 'GPU')}, {plural(machine.cores, 'core')}"
    _tell(
        f"{runs.name}: {plural(len(todo), 'run')} to do, {done} finished; "
        f"at most {executor.jobs} at a time ({has})"
    )
    for run in todo:
        asked = runs.slurm[run.signature].gpus
        if machine.gpus and asked > run.placement.gpus:
            _tell(
                f"{run.signature} asks for {asked} GPUs and gets {run.placement.gpus}: its batch "
                "is the same, its share for each GPU is larger"
            )
        elif asked > 1 and not machine.gpus:
            _tell(f"{run.signature} asks for {asked} GPUs: {asked} processes on the CPU (gloo)")
    chosen = sorted({executor.threads(run) for run in todo} - {0})
    if chosen:
        _tell(
            f"OMP_NUM_THREADS={' or '.join(map(str, chosen))} for each process, so that they share "
            "the cores (set it, or -o misc.threads=N, for another number)"
        )


def _outcome(local: Sequence[LocalRun], stopped_by: int) -> int:
    """Say what failed and how to go on; return the exit status."""
    failed = [run for run in local if run.job.state == FAILED]
    for run in failed:
        print(f"\n{run.signature} {run.failure}; the end of {run.log}:\n", file=sys.stderr)
        print(run.last_lines(), file=sys.stderr)
    if failed:
        print(
            f"\ngrid: {len(failed)} of {plural(len(local), 'run')} failed "
            f"({', '.join(run.signature for run in failed)}); the same command tries them again",
            file=sys.stderr,
        )
    if stopped_by:
        left = sum(run.job.state != COMPLETED for run in local)
        print(
            f"grid: stopped with {plural(left, 'run')} to go; the same command goes on from their "
            "checkpoints",
            file=sys.stderr,
        )
        return 128 + stopped_by
    return 1 if failed else 0
