"""Dora's own commands, as far as they go without a scheduler."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integ


def test_a_grid_is_planned_without_a_scheduler_and_nothing_is_written(lab):
    printed = lab.run("tools.grid", "smoke", "--plan")
    assert "openunmix_tiny" in printed
    assert "hdemucs_tiny" in printed
    assert "#SBATCH --signal=USR2@90" in printed
    assert not lab.runs.exists()


def test_a_dry_run_needs_no_scheduler_and_its_runs_can_be_referenced(lab):
    lab.environment["PATH"] = str(Path(sys.executable).parent)  # no SLURM there
    command = ("dora", "-P", "mss", "grid", "smoke", "--no_monitoring")
    printed = lab.run(*command, "--dry_run", "--init")
    signatures = sorted(path.name for path in lab.runs.iterdir())
    assert len(signatures) == 4
    assert all(signature in printed for signature in signatures)
    assert "openunmix_tiny" in "".join(
        lab.run("dora", "-P", "mss", "info", "-f", signature) for signature in signatures
    )
    refused = lab.run(*command, status=1)
    assert "SLURM is not on this machine" in refused
    assert "tools.grid smoke --local" in refused
    assert "Traceback" not in refused


@pytest.mark.timeout(400)
def test_a_grid_runs_here_and_ends_as_it_would_run_by_run(lab, make_lab):
    printed = lab.run("tools.grid", "smoke", "--local", "--jobs", "2", "-o", "misc.threads=1")
    assert printed.count("COM") >= 4  # COMPLETED
    runs = sorted(path.name for path in lab.runs.iterdir())
    assert len(runs) == 4
    assert all(run in lab.run("tools.grid", "smoke", "--plan") for run in runs)
    other = make_lab("other")
    argv = json.loads((lab.runs / runs[0] / ".argv.json").read_text())
    ranks = ("-d", "--ddp_workers=2") if (lab.runs / runs[0] / "worker_1.log").exists() else ()
    other.run("dora", "-P", "mss", "run", *ranks, *argv, "misc.threads=1")
    histories = [json.loads((x.runs / runs[0] / "history.json").read_text()) for x in (lab, other)]
    assert histories[0][-1]["test"] == histories[1][-1]["test"]
    assert [e["train"]["loss"] for e in histories[0]] == [e["train"]["loss"] for e in histories[1]]

    explained = lab.run("tools.explain", runs[0][:6])
    assert runs[0] in explained
    assert "dset=demo_tiny" in explained


def test_every_optional_group_can_be_none(lab):
    printed = lab.run("dora", "-P", "mss", "info", "augment=none", "distill=none", "variant=none")
    assert "Sheep(" in printed
