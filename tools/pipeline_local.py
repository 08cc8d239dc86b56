"""Runs a pipeline on this machine: steps side by side where the graph allows it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path

from dora.shep import Sheep

from mss.eval.table import plural
from tools.local_executor import COMPLETED, FAILED, LocalExecutor, LocalRun
from tools.machine import Machine, Placement, place, this_machine
from tools.pipeline_folder import LOG
from tools.pipeline_plan import Plan, PlannedStep
from tools.pipeline_state import overview, states

WORKER = (sys.executable, "-m", "tools.pipeline_worker")


@dataclass
class StepRun(LocalRun):
    """A step, where the executor knows the runs of grids.

    Attributes:
        planned: the step.
        ranks: processes among which its command shares its work.
    """

    sheep: Sheep = field(init=False, repr=False, compare=False)  # a step has none
    planned: PlannedStep = field(kw_only=True)
    ranks: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """There is no sheep to tell of the job."""

    @property
    def signature(self) -> str:
        """What the executor calls it."""
        return f"{self.planned.step.name} ({self.planned.id})"

    @property
    def log(self) -> Path:
        """What the step prints."""
        return self.planned.folder.path / LOG

    def arguments(self) -> list[str]:
        """Return what the worker is to do."""
        return [str(self.planned.folder.path), f"--ranks={self.ranks}"]


class StepExecutor(LocalExecutor):
    """Starts steps when those that they need are done."""

    def __init__(
        self,
        runs: Sequence[StepRun],
        sorter: TopologicalSorter[str],
        at_once: int,
        machine: Machine,
        jobs: int,
        grace: float,
    ) -> None:
        """
        Args:
            runs: one for each node of the graph.
            sorter: the graph.
            at_once: steps that may come to run side by side.
            machine: its GPUs and cores.
            jobs: at a time.
            grace: seconds that a stopped step has for its checkpoint.
        """
        super().__init__((), jobs, machine, WORKER, grace, tell)
        self.steps = {run.planned.step.name: run for run in runs}
        self.at_once = at_once
        self.sorter = sorter
        self.sorter.prepare()
        self._known_as_done: set[str] = set()
        self.release()

    def release(self) -> None:
        """Let those steps start whose inputs have come to be there."""
        for name, run in self.steps.items():
            if run.job.state == COMPLETED and name not in self._known_as_done:
                self._known_as_done.add(name)
                self.sorter.done(name)
        if self.sorter.is_active():
            self.waiting += [self.steps[name] for name in self.sorter.get_ready()]

    def threads(self, run: LocalRun) -> int:
        """Return how many threads each process of a step gets; 0: nothing is said about it."""
        assert isinstance(run, StepRun)
        processes = self.at_once * run.ranks
        xp = run.planned.xp
        own = xp.cfg.misc.threads if xp is not None else 0
        if processes == 1 or "OMP_NUM_THREADS" in os.environ or own:
            return 0
        return max(1, self.machine.cores // processes)


def run_here(
    plan: Plan,
    until: str | None = None,
    jobs: int | None = None,
    grace: float = 300,
    machine: Machine | None = None,
) -> int:
    """Run what is not done on this machine; return the exit status (see tools.pipeline).

    Args:
        plan: the pipeline.
        until: the step to come to; None: all.
        jobs: at a time; None: one a GPU, or one.
        grace: seconds that a stopped step has for its checkpoint.
        machine: None: this one.
    """
    machine = machine or this_machine()
    jobs = jobs or max(1, len(machine.gpus))
    needed = plan.needed(until)
    print(overview(plan, states(plan, until)), flush=True)
    if not needed:
        return 0
    runs = [_prepare(planned, machine) for planned in needed.values()]
    at_once = min(jobs, _width(plan.sorter(needed)))
    executor = StepExecutor(runs, plan.sorter(needed), at_once, machine, jobs, grace)
    executor.execute(executor.release)
    print(f"\n{overview(plan, states(plan, until))}", flush=True)
    return _outcome(runs, executor.stopped_by)


def tell(line: str) -> None:
    """Print what happens."""
    print(f"{datetime.now():%T} {line}", flush=True)


def _prepare(planned: PlannedStep, machine: Machine) -> StepRun:
    """Write what a step is to do, and say what it gets."""
    assert planned.task is not None
    assert planned.slurm is not None
    planned.folder.write_task(planned.task)
    placement = place(planned.slurm.gpus, machine)
    # to the executor it is one process: the worker passes signals on to what its command starts
    return StepRun(Placement(1, placement.gpus), planned=planned, ranks=placement.ranks)


def _width(sorter: TopologicalSorter[str]) -> int:
    """Return how many steps come to be ready together at most."""
    sorter.prepare()
    widest = 1
    while sorter.is_active():
        ready = sorter.get_ready()
        widest = max(widest, len(ready))
        sorter.done(*ready)
    return widest


def _outcome(runs: Iterable[StepRun], stopped_by: int) -> int:
    """Say what failed and how to go on; return the exit status."""
    left = [run for run in runs if run.job.state != COMPLETED]
    failed = [run for run in left if run.job.state == FAILED]
    for run in failed:
        print(f"\n{run.signature} {run.failure}; the end of {run.log}:\n", file=sys.stderr)
        print(run.last_lines(), file=sys.stderr)
    if failed:
        names = ", ".join(run.planned.step.name for run in failed)
        print(
            f"\npipeline: failed: {names}; {plural(len(left), 'step')} to go; the same command "
            "tries again",
            file=sys.stderr,
        )
    if stopped_by:
        print(
            f"pipeline: stopped with {plural(len(left), 'step')} to go; the same command goes on",
            file=sys.stderr,
        )
        return 128 + stopped_by
    return 1 if failed else 0
