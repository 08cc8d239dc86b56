"""Pipelines as SLURM jobs, with stand-ins for SLURM's programs."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from pipeline_stage import Stage, made

from mss.core.errors import ConfigError
from tools.pipeline_slurm import submit, under_way
from tools.pipeline_steps import OUT, Pipeline

SBATCH = """
number=$((100 + $(ls "$SLURM_STAND_IN/jobs" | wc -l)))
cp "$2" "$SLURM_STAND_IN/jobs/$number"
echo "$number|PENDING|Dependency" >> "$SLURM_STAND_IN/queue"
echo "$SBATCH_TIMELIMIT" >> "$SLURM_STAND_IN/limits"
echo "$number;cluster"
"""
SQUEUE = 'cat "$SLURM_STAND_IN/queue"'
SCANCEL = """
echo "$1" >> "$SLURM_STAND_IN/cancelled"
grep -v "^$1|" "$SLURM_STAND_IN/queue" > "$SLURM_STAND_IN/rest"
mv "$SLURM_STAND_IN/rest" "$SLURM_STAND_IN/queue"
"""
SRUN = 'while [ "$1" != bash ]; do shift; done; exec "$@"'


class Cluster:
    """What the stand-ins were told, and what they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = folder / "queue"
        self.queue.touch()
        (folder / "jobs").mkdir()

    @property
    def scripts(self) -> dict[str, str]:
        """The batch script of each job, in the order of submission."""
        return {path.name: path.read_text() for path in sorted((self.folder / "jobs").iterdir())}

    @property
    def cancelled(self) -> list[str]:
        path = self.folder / "cancelled"
        return path.read_text().split() if path.exists() else []

    def tell(self, *lines: str) -> None:
        """Set what squeue answers."""
        self.queue.write_text("".join(f"{line}\n" for line in lines))

    def run(self, job: str, **environment: str) -> int:
        """Run the script of a job, as its first task; return its status."""
        task = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "1"}
        task |= {"SLURM_NNODES": "1", "SLURM_JOB_ID": job, "SLURM_CPUS_PER_TASK": "2"}
        done = subprocess.run(
            ["bash", str(self.folder / "jobs" / job)],
            env={**os.environ, **task, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = self.queue.read_text().splitlines()
        self.tell(*(line for line in lines if not line.startswith(f"{job}|")))
        return done.returncode


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    folder = tmp_path / "slurm"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": SCANCEL, "srun": SRUN}
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STAND_IN", str(folder))
    return Cluster(folder)


@pytest.fixture
def stage(tmp_path, lab, monkeypatch, repository, cache_folder) -> Stage:
    monkeypatch.chdir(repository)
    return Stage(tmp_path, lab, monkeypatch)


def chain(p: Pipeline) -> None:
    """Two runs, and steps that are made from one or both."""
    p.slurm_(gpus=2, mem_per_gpu=4, time=120)
    one, two = (p.train(name, {"seed": seed}) for name, seed in (("one", 1), ("two", 2)))
    inputs = [part for run in (one, two) for part in ("--in", run.path / "checkpoint.th")]
    both = p.tool("both", "toy", "--word", "b", *inputs, "--out", OUT)
    p.tool("last", "toy", "--word", "c", "--in", both.path / "made.txt", "--out", OUT)


def dependency(script: str) -> str:
    found = re.search(r"#SBATCH --dependency=(\S+)", script)
    return found.group(1) if found else ""


def test_each_step_is_a_job_behind_those_that_it_needs(stage, cluster, monkeypatch, capsys):
    monkeypatch.setenv("SBATCH_TIMELIMIT", "9")
    plan = stage.plan(chain)
    assert submit(stage.lab, plan) == 0
    printed = capsys.readouterr().out
    jobs = cluster.scripts
    assert [dependency(script) for script in jobs.values()] == [
        *("", ""),
        "afterok:100:101",
        "afterok:102",
    ]
    for job, script in jobs.items():
        assert ("#SBATCH --kill-on-invalid-dep=yes" in script) == (job in ("102", "103"))
        assert "#SBATCH --requeue" in script
        assert "#SBATCH --time=120" in script
    assert "#SBATCH --ntasks-per-node=2" in jobs["100"]  # a run shares its work among GPUs
    assert "#SBATCH --ntasks-per-node=1" in jobs["102"]  # a tool does not
    # what slurm/env.sh sets for the wrappers would go before what the script asks for
    assert (cluster.folder / "limits").read_text().split() == []
    assert f"last ({plan.steps['last'].id}): job 103" in printed
    assert "queued (job 103)" in printed


def test_a_second_call_submits_nothing_that_is_under_way(stage, cluster):
    plan = stage.plan(chain)
    submit(stage.lab, plan)
    submit(stage.lab, plan)
    assert len(cluster.scripts) == 4
    assert {name: job.id for name, job in under_way(plan).items()} == {
        "one": "100",
        "two": "101",
        "both": "102",
        "last": "103",
    }


def test_the_scripts_do_the_work_and_what_is_done_is_not_waited_for(stage, cluster):
    plan = stage.plan(chain)
    submit(stage.lab, plan, until="one")
    assert list(cluster.scripts) == ["100"]
    assert cluster.run("100") == 0
    assert plan.steps["one"].is_done()
    (started,) = stage.notes("start")
    assert "-d" not in started["argv"]  # ranks are the tasks of the job
    assert started["threads"] == "2"

    submit(stage.lab, plan)
    assert [dependency(script) for script in cluster.scripts.values()][1:] == [
        *("", "afterok:101"),
        "afterok:102",
    ]
    for job in ("101", "102", "103"):
        assert cluster.run(job) == 0
    assert made(plan, "last") == "c(b(seed=1)(seed=2))"
    submit(stage.lab, plan)
    assert len(cluster.scripts) == 4


def test_where_a_step_failed_the_same_command_submits_it_and_what_is_behind_it(stage, cluster):
    plan = stage.plan(chain)
    submit(stage.lab, plan)
    assert [cluster.run(job) for job in ("100", "101")] == [0, 0]
    assert cluster.run("102", FAIL="b") == 3
    assert plan.steps["both"].folder.failure == "ended with status 3"
    cluster.tell("103|PENDING|DependencyNeverSatisfied")  # SLURM is about to cancel it
    submit(stage.lab, plan)
    assert [dependency(s) for s in list(cluster.scripts.values())[4:]] == ["", "afterok:104"]
    assert cluster.cancelled == []


def test_a_job_that_waits_for_one_that_is_gone_is_replaced(stage, cluster):
    plan = stage.plan(chain)
    submit(stage.lab, plan)
    cluster.tell("101|RUNNING|None", "102|PENDING|Dependency", "103|PENDING|Dependency")
    submit(stage.lab, plan)
    assert cluster.cancelled == ["102", "103"]
    new = list(cluster.scripts.values())[4:]
    assert [dependency(script) for script in new] == ["", "afterok:104:101", "afterok:105"]


def test_a_step_that_runs_here_is_not_submitted(stage, cluster):
    plan = stage.plan(chain)
    folder = plan.steps["one"].folder
    folder.write_task(plan.steps["one"].task)
    from tools.pipeline_folder import Claim

    with Claim(folder) as claim:
        assert claim.take()
        with pytest.raises(ConfigError, match="one: a process that is no job of this pipeline's"):
            submit(stage.lab, plan)
    assert cluster.scripts == {}


def test_faults_of_slurm_are_one_sentence(stage, cluster, monkeypatch):
    plan = stage.plan(chain)
    sbatch = cluster.folder / "bin" / "sbatch"
    sbatch.write_text(
        "#!/bin/sh\necho more >&2\necho 'sbatch: error: invalid partition' >&2\nexit 1\n"
    )
    with pytest.raises(ConfigError, match=r"^sbatch: sbatch: error: invalid partition$"):
        submit(stage.lab, plan)
    sbatch.write_text("#!/bin/sh\necho held\n")
    with pytest.raises(ConfigError, match="one: sbatch answered 'held"):
        submit(stage.lab, plan)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"SLURM is not on this machine .* tools\.pipeline toy"):
        submit(stage.lab, plan)
