"""Submits a pipeline to SLURM: a job a step, each behind those that it needs.

A job that has not ended is not submitted a second time, nor is a step that is done. Where a step
fails, SLURM cancels the jobs that wait for it, and no others.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dora.hydra import HydraMain
from filelock import FileLock, Timeout

from grids._base import OF_THE_WRAPPERS
from mss.core.errors import ConfigError
from mss.core.files import write_text_atomic
from tools.grid_runs import OfflineShepherd
from tools.pipeline_plan import Plan, PlannedStep
from tools.pipeline_state import Job, overview, states

SCRIPT = "job.sh"
SUBMISSION = ".submission.lock"
SECONDS = 60  # that a busy controller may take to answer
PATIENCE = 600  # seconds that another submission may take
DOOMED = "DependencyNeverSatisfied"
PROGRAMS = ("sbatch", "squeue", "scancel", "srun")


def submit(main: HydraMain, plan: Plan, until: str | None = None) -> int:
    """Submit what is not done and not under way; return the exit status.

    Raises:
        ConfigError: SLURM is not here or refuses a job, or somebody else works on a step.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"SLURM is not on this machine (no {', '.join(missing)} on PATH); run the pipeline "
            f"here by `python -m tools.pipeline {plan.name} --local`"
        )
    plan.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(plan.root / SUBMISSION, timeout=PATIENCE):
            jobs = _submit_all(main, plan, until)
    except Timeout as error:
        raise ConfigError(
            f"{plan.root / SUBMISSION}: another pipeline has been submitting for {PATIENCE} s; "
            "wait for it to end, then try again"
        ) from error
    print(overview(plan, states(plan, until, jobs)))
    return 0


def _submit_all(main: HydraMain, plan: Plan, until: str | None) -> dict[str, Job]:
    """Return the jobs of all steps that are under way now, by the step's name."""
    jobs = under_way(plan)
    needed = plan.needed(until)
    for name, planned in needed.items():
        if name not in jobs and planned.folder.is_claimed():
            raise ConfigError(
                f"{name}: a process that is no job of this pipeline's works on it; wait for its end"
            )
    new: set[str] = set()
    for name, planned in needed.items():
        job = jobs.get(name)
        if job is not None and not (job.is_pending and new & set(planned.needs)):
            continue
        if job is not None:  # it waits for a job that has failed, in whose place is another now
            _run_program(["scancel", job.id])
        before = [jobs[need].id for need in planned.needs if need in jobs and need in needed]
        jobs[name] = Job(_submit_one(main, planned, before), "PENDING")
        new.add(name)
        print(f"{name} ({planned.id}): job {jobs[name].id}", flush=True)
    return jobs


def under_way(plan: Plan) -> dict[str, Job]:
    """Return the jobs of this pipeline's steps that have not ended, by the step's name.

    Raises:
        ConfigError: SLURM does not answer.
    """
    known = {name: planned.folder.job for name, planned in plan.steps.items() if planned.folder.job}
    if not known:
        return {}
    listed = _run_program(["squeue", "-h", "-u", getpass.getuser(), "-o", "%i|%T|%r"])
    rows = [line.split("|", 2) for line in listed.splitlines() if line.count("|") >= 2]
    alive = {job.strip(): Job(job.strip(), state) for job, state, why in rows if why != DOOMED}
    return {name: alive[job] for name, job in known.items() if job in alive}


def _submit_one(main: HydraMain, planned: PlannedStep, before: Sequence[str]) -> str:
    """Submit the job of a step behind other jobs; return its id."""
    assert planned.task is not None
    planned.folder.write_task(planned.task)
    planned.folder.forget_failure()
    script = planned.folder.path / SCRIPT
    write_text_atomic(script, job_text(main, planned, before))
    environment = {key: v for key, v in os.environ.items() if key not in OF_THE_WRAPPERS}
    with _undisturbed():  # else a job might be submitted of which nobody knows
        printed = _run_program(["sbatch", "--parsable", str(script)], environment)
        job = printed.strip().splitlines()[-1].split(";")[0] if printed.strip() else ""
        if not job.isdigit():
            raise ConfigError(f"{planned.step.name}: sbatch answered {printed!r}, which is no job")
        planned.folder.record_job(job)
    return job


def job_text(main: HydraMain, planned: PlannedStep, before: Sequence[str]) -> str:
    """Return the batch script of a step.

    Dora computes what to ask for, and submitit writes it, as for a grid.

    Args:
        main: of the lab.
        planned: the step.
        before: jobs that are to end well before.

    Raises:
        ConfigError: Dora or submitit refuses the settings.
    """
    assert planned.slurm is not None
    assert planned.task is not None
    folder = planned.folder.path.absolute()
    try:
        executor = OfflineShepherd(main)._get_submitit_executor(
            f"stemgrid-{planned.id}", folder, planned.slurm
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{planned.step.name}: slurm: {error}") from error
    more = {**(executor.parameters.get("additional_parameters") or {}), "requeue": True}
    if before:
        more |= {"dependency": f"afterok:{':'.join(before)}", "kill-on-invalid-dep": "yes"}
    executor.update_parameters(additional_parameters=more)
    worker = [planned.slurm.python or sys.executable, "-m", "tools.pipeline_worker", str(folder)]
    # rank.sh: tells each task its place, and a run that it may requeue its job
    command = shlex.join(["bash", "slurm/rank.sh", *worker])
    return str(executor._make_submission_file_text(command, uid=""))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and TERM wait."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_program(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return what a program of SLURM's printed.

    Raises:
        ConfigError: it failed.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{command[0]}: does not answer within {SECONDS} s; try again") from error
    except OSError as error:
        raise ConfigError(f"{command[0]}: can't be run ({error.strerror})") from error
    if done.returncode != 0:
        told = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        raise ConfigError(f"{command[0]}: {told.splitlines()[-1]}")
    return done.stdout
