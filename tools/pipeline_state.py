"""How far a pipeline is: the state of each step, and the table of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import treetable as tt

from mss.eval.table import plural
from tools.pipeline_plan import Plan, PlannedStep

GIVEN, DONE, RUNNING, QUEUED, FAILED = "given", "done", "running", "queued", "failed"
READY, WAITS, NOT_NEEDED = "to do", "waits for", "not needed"


@dataclass(frozen=True)
class Job:
    """A SLURM job that has not ended.

    Attributes:
        id: of the job.
        state: as SLURM names it, such as PENDING.
    """

    id: str
    state: str

    @property
    def is_pending(self) -> bool:
        """Whether it has not started yet."""
        return self.state == "PENDING"


@dataclass(frozen=True)
class State:
    """Of a step: a word, and what there is to tell of it."""

    word: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.word} {self.detail}".rstrip()


def states(
    plan: Plan, until: str | None = None, jobs: Mapping[str, Job] | None = None
) -> dict[str, State]:
    """Return the state of each step, in order.

    Args:
        plan: the pipeline.
        until: the step that is asked for; None: all.
        jobs: SLURM's, by the step's name.
    """
    needed = plan.needed(until)
    return {
        name: _state(planned, needed, (jobs or {}).get(name))
        for name, planned in plan.steps.items()
    }


def _state(planned: PlannedStep, needed: Mapping[str, PlannedStep], job: Job | None) -> State:
    if planned.task is None:
        return State(GIVEN)
    if planned.is_done():
        return State(DONE)
    if job is not None:
        return State(QUEUED if job.is_pending else RUNNING, f"(job {job.id})")
    if planned.folder.is_claimed():
        return State(RUNNING)
    if planned.step.name not in needed:
        return State(NOT_NEEDED)
    if planned.folder.failure:
        return State(FAILED, f"({planned.folder.failure})")
    waits = [need for need in planned.needs if need in needed]
    return State(WAITS, ", ".join(waits)) if waits else State(READY)


def overview(plan: Plan, found: Mapping[str, State]) -> str:
    """Return a table: each step, its signature, what it is made from and how far it is."""
    lines = [
        {
            "step": name,
            "signature": planned.id,
            "from": ", ".join(planned.needs) or "-",
            "state": str(found[name]),
        }
        for name, planned in plan.steps.items()
    ]
    columns = [tt.leaf(key) for key in ("step", "signature", "from", "state")]
    table = tt.treetable(lines, tt.table(columns))
    steps = [planned for planned in plan.steps.values() if planned.task is not None]
    head = f"Pipeline {plan.name}: {plural(len(steps), 'step')}"
    return "\n".join([head, "", *(line.rstrip() for line in table.splitlines())])


def commands(plan: Plan) -> str:
    """Return the command of each step and where it leaves its results."""
    parts = []
    for name, planned in plan.steps.items():
        if planned.task is not None:
            command = shlex.join(["python", *planned.task.command()])
            parts.append(f"# {name}: {planned.path}\n{command}")
    return "\n\n".join(parts)
