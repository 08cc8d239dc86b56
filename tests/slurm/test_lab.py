"""The SLURM that the other tests rely on does what a cluster's does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]
RESTARTED = '[ -n "${SLURM_RESTART_COUNT:-}" ] || sleep 100'


def test_every_script_passes_shellcheck():
    scripts = sorted((*CLONE.glob("slurm/*.sh"), *HERE.glob("*.sh")))
    assert len(scripts) >= 12
    command = ["shellcheck", "--external-sources", *scripts]
    checked = subprocess.run(command, cwd=CLONE, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_a_job_of_two_nodes_with_their_gpus(slurm, tmp_path):
    each = "echo $SLURMD_NODENAME $SLURM_PROCID $CUDA_VISIBLE_DEVICES"
    options = ("-N2", "--ntasks-per-node=2", "--gpus-per-node=8", "-c10", "--mem=320G", "-t5")
    job = slurm.submit(*options, f"--wrap=srun bash -c '{each}'", cwd=tmp_path)
    slurm.wait(job)
    gpus = "0,1,2,3,4,5,6,7"
    assert sorted(slurm.log(job).splitlines()) == [
        f"labnode{1 + task // 2} {task} {gpus}" for task in range(4)
    ]
    for node in ("labnode1", "labnode2"):
        assert subprocess.run(["getent", "hosts", node], capture_output=True).returncode == 0


def test_an_array_a_cancelled_and_a_requeued_job(slurm, tmp_path):
    array = slurm.submit("--array=0-3%2", "--mem=1G", "--wrap=exit 0", cwd=tmp_path)
    failing = slurm.submit("--mem=1G", "--wrap=exit 3", cwd=tmp_path)
    cancelled = slurm.submit("--mem=1G", "--wrap=sleep 100", cwd=tmp_path)
    requeued = slurm.submit("--requeue", "--mem=1G", f"--wrap={RESTARTED}", cwd=tmp_path)
    slurm.wait(cancelled, "RUNNING")
    slurm.wait(requeued, "RUNNING")
    slurm.command("scancel", cancelled)
    slurm.command("scontrol", "requeue", requeued)
    slurm.wait(array, parts=4)
    assert slurm.state(f"{array}_3") == "COMPLETED"
    slurm.wait(failing, "FAILED")
    slurm.wait(cancelled, "CANCELLED")
    slurm.wait(requeued)
    assert [slurm.restarts(job) for job in (cancelled, requeued)] == [0, 1]


def test_the_lab_starts_over_what_a_killed_start_left_and_takes_away_what_it_brought(slurm):
    """A second lab beside the first."""
    hosts = Path("/etc/hosts").read_bytes()
    folder = Path(slurm.environment["SLURM_CONF"]).parents[1].with_suffix(".second")
    environment = {
        **os.environ,
        "SLURM_LAB_DIR": str(folder),
        "SLURM_LAB_NODES": "3",
        "SLURM_LAB_PORT": "31850",
    }

    def script(name):
        return subprocess.run([HERE / name], env=environment, capture_output=True, text=True)

    with subprocess.Popen([HERE / "start.sh"], env=environment) as killed:
        while not (folder / "mysql.sock").exists() and killed.poll() is None:
            pass
        killed.kill()
    try:
        started = script("start.sh")
        assert "3 idle nodes" in started.stdout, started.stderr
        assert b"labnode3" in Path("/etc/hosts").read_bytes()
        again = script("start.sh")
        assert again.returncode == 0
        assert "already up" in again.stdout
    finally:
        stopped = script("stop.sh")
    assert stopped.returncode == 0, stopped.stderr
    assert Path("/etc/hosts").read_bytes() == hosts
    assert "UP" in slurm.command("scontrol", "ping")  # the first lab was left alone
    slurm.command("sacct", "-X", "-n")
    shutil.rmtree(folder)  # its logs, kept for what goes wrong
