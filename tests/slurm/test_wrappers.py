"""slurm/*.sh by sbatch from any folder; the last test is a user's week."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

pytestmark = pytest.mark.slurm

# In place of `dora run` where only the ways of a job matter: torch takes long to import.
STAND_IN = """\
#!{python}
import os, signal, subprocess, sys, time

names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS")
print(*(f"{{name}}={{os.environ.get(name)}}" for name in names), *sys.argv[1:])
rank = os.environ.get("RANK", "0")
checkpoint = "checkpoint." + rank
if "SLURM_JOB_ID" not in os.environ or "SLURM_RESTART_COUNT" in os.environ:
    sys.exit(print("finished from", checkpoint if os.path.exists(checkpoint) else "nothing"))

def on_preemption(*_):
    # not a line of the log: what a task prints right before its job is requeued may not reach it
    open(checkpoint, "w").close()
    if rank == "0":
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
    sys.exit(143)

signal.signal(signal.SIGUSR2, on_preemption)
open("ready." + rank, "w").close()
time.sleep(100)
"""
NO_SIGNATURE = "give the signature of a run"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """The folder that the user submits from."""
    folder = tmp_path / "some where"
    folder.mkdir()
    return folder


@pytest.fixture
def stand_in(clone):
    """The command `dora` of the clone, without any training."""
    dora = clone.root / ".venv" / "bin" / "dora"
    dora.parent.mkdir(parents=True)
    dora.write_text(STAND_IN.format(python=sys.executable))
    dora.chmod(0o755)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_preempted_job_goes_on_in_the_same_log(slurm, clone, stand_in, elsewhere, tasks):
    wrapper = clone.root / "slurm" / "train.sh"
    options = (f"--ntasks={tasks}", "--cpus-per-task=3")
    arguments = ("3", "a=/slurm/train.sh", "b='x y'")
    job = slurm.submit(*options, wrapper, *arguments, cwd=elsewhere, **clone.environment)
    for rank in range(tasks):
        slurm.until((clone.root / f"ready.{rank}").exists, job, f"start of task {rank}")
    slurm.command("scancel", "--signal=USR2", job)
    slurm.wait(job)
    assert slurm.restarts(job) == 1
    log = slurm.log(job)
    lines = log.splitlines()
    for rank in range(tasks):
        place = f"RANK={rank} LOCAL_RANK={rank} WORLD_SIZE={tasks} MASTER_ADDR=127.0.0.1"
        started = f"{place} OMP_NUM_THREADS=1 run train.epochs=3 a=/slurm/train.sh b='x y'"
        assert lines.count(started) == 2, log
        assert lines.count(f"finished from checkpoint.{rank}") == 1, log
    assert re.search(rf"job {job}, start 1 .*job {job}, start 2 ", log, re.DOTALL)
    assert not list(elsewhere.iterdir())


def test_the_time_limit_announces_itself(slurm, clone, stand_in, elsewhere):
    # SLURM looks at limits every 30 s, and a minute is the shortest
    options = ("--time=1", "--signal=USR2@55")
    wrapper = clone.root / "slurm" / "train.sh"
    job = slurm.submit(*options, wrapper, cwd=elsewhere, **clone.environment)
    slurm.wait(job)
    assert "finished from checkpoint.0" in slurm.log(job)
    assert slurm.restarts(job) == 1


def test_the_clone_is_found_from_everywhere(slurm, clone, elsewhere):
    wrapper = clone.root / "slurm" / "continue.sh"
    copy = Path(shutil.copy(wrapper, elsewhere))
    home = {"STEMGRID_HOME": str(clone.root)}
    submitted = [
        ((wrapper,), elsewhere, {}),
        ((os.path.relpath(wrapper, elsewhere),), elsewhere, {}),
        (("slurm/continue.sh",), clone.root, {}),
        (("continue.sh",), wrapper.parent, {}),
        (("--chdir=/", "./continue.sh"), wrapper.parent, {}),
        (("--array=0-1", "slurm/continue.sh"), clone.root, {}),
        ((copy,), elsewhere, home),
    ]
    jobs = [
        slurm.submit("--job-name=found", *arguments, cwd=folder, **clone.environment, **variables)
        for arguments, folder, variables in submitted
    ]
    for job in jobs:
        slurm.wait(job, "FAILED")
    logs = list(clone.logs.glob("found-*.log"))
    assert len(logs) == len(jobs) + 1  # an array has a log for each of its parts
    assert all(NO_SIGNATURE in log.read_text() for log in logs)
    assert not list(clone.root.rglob("stemgrid-*.out"))
    assert list(elsewhere.iterdir()) == [copy]


def test_what_goes_wrong_early_and_what_the_user_redirects(slurm, clone, elsewhere):
    wrapper = clone.root / "slurm" / "continue.sh"
    copy = shutil.copy(wrapper, elsewhere)
    lost = slurm.submit(copy, "SIG", cwd=elsewhere, **clone.environment)
    own = slurm.submit("--output=own.txt", wrapper, cwd=elsewhere, **clone.environment)
    other = {"STEMGRID_LOGS": str(elsewhere / "my logs"), **clone.environment}
    there = slurm.submit(wrapper, cwd=elsewhere, **other)
    for job in (lost, own, there):
        slurm.wait(job, "FAILED")
    assert "STEMGRID_HOME" in (elsewhere / f"stemgrid-{lost}.out").read_text()
    assert NO_SIGNATURE in (elsewhere / "own.txt").read_text()
    assert NO_SIGNATURE in (elsewhere / "my logs" / f"stemgrid-continue-{there}.log").read_text()
    assert not clone.logs.exists()


def test_the_environment_file_tells_sbatch(slurm, clone):
    site = ': "${STEMGRID_PARTITION:=urgent}" "${STEMGRID_GPUS:=2}" "${STEMGRID_TIME:=9}"\n'
    (clone.root / "slurm" / "site.sh").write_text(site)
    script = 'cd "$1"; . slurm/env.sh; sbatch --parsable --hold slurm/train.sh'
    jobs = [
        slurm.command("bash", "-euc", script, "", str(clone.root), **given)
        for given in ({}, {"STEMGRID_PARTITION": "lab"})
    ]
    shown = [slurm.show(job) for job in jobs]
    slurm.command("scancel", *jobs)
    assert [job["Partition"] for job in shown] == ["urgent", "lab"]
    assert all(job["TimeLimit"] == "00:09:00" for job in shown)
    assert all("gres/gpu=2" in job["TRES"] for job in shown)
    assert all(job["Requeue"] == "1" for job in shown)


def test_without_slurm_a_wrapper_is_a_plain_script(clone, stand_in, elsewhere):
    script = ["bash", os.path.relpath(clone.root / "slurm" / "train.sh", elsewhere), "5", "seed=1"]
    plain = {name: os.environ[name] for name in ("HOME", "PATH")}
    done = subprocess.run(script, cwd=elsewhere, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("run train.epochs=5 seed=1")
    assert not clone.logs.exists()


@pytest.mark.timeout(600)
def test_a_users_week(slurm, clone, elsewhere):
    def submit(wrapper, *arguments, options=()):
        script = clone.root / "slurm" / wrapper
        return slurm.submit(*options, script, *arguments, cwd=elsewhere, **clone.environment)

    model = ("model=openunmix_tiny", "model.hidden_size=16", "model.nb_layers=1")
    run = ("variant=debug", "dset=demo_tiny", "train.batch_size=8", "train.items=16", *model)
    pair = ("--ntasks=2", "--cpus-per-task=1")
    train = submit("train.sh", 4, *run, options=pair)
    histories = slurm.until(
        lambda: list(clone.runs.glob("*/history.json")), train, "history of an epoch"
    )
    slurm.command("scancel", train)
    # accounting says so at once, the controller when the tasks are gone: till then the job could
    # be brought back to life by a `scontrol requeue` of its own
    slurm.until(lambda: slurm.show(train)["JobState"] == "CANCELLED", train, "end")
    assert slurm.restarts(train) == 0
    slurm.wait(train, "CANCELLED")
    (history,) = histories
    assert 1 <= len(json.loads(history.read_text())) < 4
    sig = history.parent.name

    slurm.wait(submit("continue.sh", sig, options=pair))
    epochs = json.loads(history.read_text())
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert "nsdr" in epochs[-1]["test"]

    release = submit("release.sh", sig)
    slurm.wait(release)
    (released,) = (clone.root / "release_models").glob("*.safetensors")
    assert sig in released.name
    assert str(released) in slurm.log(release)

    frames = 44100
    soundfile.write(elsewhere / "a song.wav", [[0.1, -0.1]] * frames, 44100)
    evaluate = submit("evaluate.sh", sig, "dset=demo_tiny")
    separate = submit("separate.sh", "a song.wav", sig)
    for job in (evaluate, separate):
        slurm.wait(job)
    (summary,) = (clone.root / "results").rglob("summary.json")
    assert "nsdr" in summary.read_text()
    assert "do nothing" in slurm.log(evaluate)
    stems = sorted((elsewhere / "separated" / "a song").glob("*.wav"))
    assert [stem.stem for stem in stems] == ["bass", "drums", "other", "vocals"]
    assert all(soundfile.info(stem).frames == frames for stem in stems)

    assert sorted(path.name for path in elsewhere.iterdir()) == ["a song.wav", "separated"]
    names = sorted(re.sub(r"-\d+\.log$", "", path.name) for path in clone.logs.iterdir())
    week = ("continue", "evaluate", "release", "separate", "train")
    assert names == [f"stemgrid-{name}" for name in week]
