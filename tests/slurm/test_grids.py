"""`dora grid` on SLURM: jobs, arrays and ranks that are killed, preempted and requeued."""

import json
import os
import random
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

# The shape of `smoke`, with runs long enough to be disturbed in the middle.
STORM = '''
"""Does a disturbed run end as an undisturbed one?"""

from grids._base import SeparationExplorer, preset


@SeparationExplorer
def explorer(launcher):
    launcher.bind_({"variant": "debug", "dset": "demo_tiny", "model": "hdemucs_tiny"})
    launcher.bind_({"train.segment": 1, "train.items": 96, "train.batch_size": 8})
    launcher.bind_({"ema.step": 0.9, "misc.threads": 1, "misc.workers": 1})
    launcher.bind_({"misc.log_seconds": 0.01, "misc.checkpoint_steps": 2})
    launcher.slurm_(**preset("cpu", mem_per_gpu=4, time=60))
    launcher({"loss": "l1"})
    with launcher.job_array():
        for seed in (1, 2):
            launcher({"seed": seed, "model": "openunmix_tiny", "model.hidden_size": 32})
    launcher.slurm(gpus=2)({"loss": "mse"})
'''
UPDATES = 24


@dataclass(frozen=True)
class Run:
    """A run of a grid and its job."""

    folder: Path
    job: str

    @property
    def ranks(self) -> int:
        return 2 if (self.folder / "submitit" / f"{self.job}_1_log.out").exists() else 1

    @property
    def log(self) -> str:
        """What its main task printed (standard error, where logging goes)."""
        paths = [self.folder / "submitit", *self.folder.glob("*_array_*")]
        names = (f"{self.job}_0_log.err", f"{self.job}_0_log.out")
        files = [path / name for path in paths for name in names]
        return "".join(file.read_text() for file in files if file.exists())

    def state(self) -> dict:
        return torch.load(self.folder / "checkpoint.th", weights_only=True)


def python(slurm, clone, *arguments: str) -> str:
    """Run ``python -m ARGUMENTS`` in the clone, as the user on the login node does."""
    return slurm.command(sys.executable, "-m", *arguments, cwd=clone.root, **clone.environment)


def grid(slurm, clone, *arguments: str) -> str:
    return python(slurm, clone, "dora", "-P", "mss", "grid", *arguments, "--no_monitoring")


def runs_of(clone, name: str) -> list[Run]:
    """Return the runs of a grid with the latest job of each, in no order."""
    found = []
    for link in sorted((clone.root / "outputs" / "grids" / name).iterdir()):
        folder = link.resolve()
        job = json.loads((folder / "job.json").read_text())["job_id"]
        found.append(Run(folder, job))
    return found


def tasks_of(job: str) -> dict[int, int]:
    """Return the pid of each task of a running job, by rank; they are processes of this machine."""
    tasks = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            program = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has just ended
        environment = dict(word.split("=", 1) for word in words if "=" in word)
        array = environment.get("SLURM_ARRAY_JOB_ID")
        name = f"{array}_{environment.get('SLURM_ARRAY_TASK_ID')}" if array else None
        if job not in (name, environment.get("SLURM_JOB_ID")) or "SLURM_PROCID" not in environment:
            continue
        if "submitit.core._submit" in program and "python" in Path(program[0]).name:  # not srun
            rank = int(environment["SLURM_PROCID"])
            # a loader's workers are its later children
            tasks[rank] = min(tasks.get(rank, sys.maxsize), int(entry.name))
    return tasks


def hears(job: str) -> bool:
    """Whether every task of a running job handles USR2 by now: Python itself takes a moment."""
    try:
        masks = [
            int(re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)
            for pid in tasks_of(job).values()
        ]
    except OSError:
        return False
    return bool(masks) and all(mask >> (signal.SIGUSR2 - 1) & 1 for mask in masks)


def in_training(run: Run) -> bool:
    return "train 1/2 | " in run.log


def test_a_grid_with_a_killed_rank_is_finished_by_a_retry(slurm, clone):
    """A single job, an array and a job of two tasks; one of the two is killed."""
    grid(slurm, clone, "smoke")
    runs = runs_of(clone, "smoke")
    assert len({run.job for run in runs}) == 4
    assert len({run.job.split("_")[0] for run in runs}) == 3  # two are one array
    pair = slurm.until(
        lambda: next((run for run in runs if len(tasks_of(run.job)) == 2), None),
        runs[0].job,
        "job of two tasks",
    )
    slurm.until(lambda: "Rank 0 of 2" in pair.log, pair.job, "process group", within=240)
    os.kill(tasks_of(pair.job)[1], signal.SIGKILL)
    killed = time.monotonic()
    slurm.wait(pair.job, "FAILED", within=60)
    print(f"FAILED {time.monotonic() - killed:.0f} s after a rank was killed")
    for run in runs:
        if run is not pair:
            slurm.wait(run.job, within=300)

    assert "FAI" in grid(slurm, clone, "smoke")  # a plain call leaves it alone
    grid(slurm, clone, "smoke", "-r")
    again = next(run for run in runs_of(clone, "smoke") if run.folder == pair.folder)
    assert again.job != pair.job
    slurm.wait(again.job, within=240)

    table = grid(slurm, clone, "smoke")
    assert table.count("COM") == 4
    for run in runs:
        test = json.loads((run.folder / "history.json").read_text())[-1]["test"]["nsdr"]
        assert f"{test:.2f}" in table
    assert_nothing_partial(clone)


def test_preempted_runs_end_as_undisturbed_ones(slurm, clone, make_clone):
    """One process and two ranks, each told once that it has to go."""
    storm(clone)
    grid(slurm, clone, "storm")
    runs = runs_of(clone, "storm")
    single, pair = (pick(slurm, runs, ranks) for ranks in (1, 2))
    for run in (single, pair):
        slurm.until(lambda run=run: in_training(run), run.job, "first update", within=240)
        slurm.command("scancel", "--signal=USR2", run.job)
    for run in runs:
        slurm.wait(run.job, within=300)
    for run in (single, pair):
        assert slurm.restarts(run.job) == 1
        assert "writing a checkpoint" in run.log
        assert "Resuming after" in run.log
    assert_as_undisturbed(slurm, clone, make_clone)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_disturbances_at_random_moments(slurm, clone, make_clone):
    """`scancel --signal=USR2` and `scontrol requeue` on whatever runs, one after the other."""
    storm(clone)
    grid(slurm, clone, "storm")
    runs = runs_of(clone, "storm")
    done = 0
    while done < 10:
        time.sleep(random.uniform(1, 6))
        running = [run for run in runs if slurm.state(run.job) == "RUNNING" and hears(run.job)]
        if not running and all(slurm.state(run.job) == "COMPLETED" for run in runs):
            break
        if not running:
            continue
        run = random.choice(running)
        soft = done % 2 == 0
        try:
            if soft:
                slurm.command("scancel", "--signal=USR2", run.job)
            else:
                slurm.command("scontrol", "requeue", run.job)
        except AssertionError as error:  # it ended meanwhile
            print(f"missed: {error}")
            continue
        done += 1
        print(f"{done}: {'USR2' if soft else 'requeue'} to {run.job} at {progress(run)}")
    for run in runs:
        slurm.wait(run.job, within=600)
    print("restarts:", [slurm.restarts(run.job) for run in runs])
    assert done == 10, f"the grid was done after {done} disturbances"
    assert_as_undisturbed(slurm, clone, make_clone)


def progress(run: Run) -> str:
    lines = [line for line in run.log.splitlines() if "train " in line or "valid " in line]
    return lines[-1].partition("]")[2][:60] if lines else "its start"


def storm(clone) -> None:
    (clone.root / "grids" / "storm.py").write_text(STORM)


def pick(slurm, runs: list[Run], ranks: int) -> Run:
    """Return the first run whose job has so many tasks."""
    return slurm.until(
        lambda: next((run for run in runs if len(tasks_of(run.job)) == ranks), None),
        runs[0].job,
        f"job of {ranks} task(s)",
    )


def assert_as_undisturbed(slurm, clone, make_clone) -> None:
    """Compare every run of the grid with one that nobody touched, on this machine."""
    undisturbed = make_clone("undisturbed")
    storm(undisturbed)
    python(slurm, undisturbed, "tools.grid", "storm", "--local", "--jobs", "2")
    for run in runs_of(clone, "storm"):
        other = Run(undisturbed.runs / run.folder.name, run.job)
        mine, expected = run.state(), other.state()
        assert mine["epoch"] == expected["epoch"] == 2
        tolerance = 1e-6 if len(mine["rng"]) == 2 else 0.0
        for part in ("model", "ema"):
            assert_close(mine[part], expected[part], tolerance)
        assert_close(mine["best"]["state"], expected["best"]["state"], tolerance)
        for one, two in zip(mine["history"], expected["history"], strict=True):
            assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], abs=tolerance)
            assert one["valid"]["nsdr"] == pytest.approx(two["valid"]["nsdr"], abs=1e3 * tolerance)
    assert_nothing_partial(clone)


def assert_close(mine, expected, tolerance: float) -> None:
    assert list(mine) == list(expected)
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_close(mine[name], value, tolerance)
        elif value.is_floating_point():
            assert (mine[name] - value).abs().max().item() <= tolerance, name
        else:
            assert torch.equal(mine[name], value), name


def assert_nothing_partial(clone) -> None:
    hidden = [path.name for path in clone.runs.glob("*/.*")]
    assert set(hidden) <= {".hydra", ".lock", ".argv.json"}, hidden
    assert list((clone.root / "outputs" / "orphans").iterdir()) == []
