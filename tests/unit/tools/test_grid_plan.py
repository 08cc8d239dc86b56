"""The plan of a grid against what Dora and submitit really submit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.grid import main as grid_main
from tools.grid_plan import plan
from tools.grid_runs import OfflineShepherd, compose_xp, gather

SBATCH = """
number=$(ls "$SUBMITTED" | wc -l)
cp "$1" "$SUBMITTED/$number"
echo "Submitted batch job $((100 + number))"
"""


@pytest.fixture
def submit(tmp_path, repository):
    """Give a grid to `dora grid` on a machine whose sbatch only keeps what it is given."""
    programs, submitted = tmp_path / "bin", tmp_path / "submitted"
    programs.mkdir()
    submitted.mkdir()
    for name, script in (("sbatch", SBATCH), ("srun", "exit 0"), ("sacct", "exit 0")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def run(grid: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "dora", "-P", "mss", "grid", grid, "--no_monitoring"],
            cwd=repository,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "SUBMITTED": str(submitted),
                "STEMGRID_OUTPUTS": str(tmp_path / "outputs"),
                "COLUMNS": "200",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return [path.read_text().rstrip() for path in sorted(submitted.iterdir())]

    return run


def test_a_plan_is_what_dora_grid_then_submits(lab, submit):
    runs = gather(lab, "smoke")
    text = plan(lab, runs)
    assert not Path(lab.dora.dir).exists()  # nothing was written
    submitted = submit("smoke")
    assert len(submitted) == len(runs.submissions) == 3
    planned = [f"#!/bin/bash{part}".rstrip() for part in text.split("#!/bin/bash")[1:]]
    planned = [part.rpartition("\n\n# a job")[0] or part for part in planned]
    assert planned == submitted
    folders = {path.name for path in (lab.dora.dir / "xps").iterdir()}
    assert folders == {sheep.xp.sig for sheep in runs.sheeps}

    # what was submitted is not planned once more
    text = plan(lab, gather(lab, "smoke"))
    assert "#SBATCH" not in text
    assert f"{runs.sheeps[0].xp.sig} (job 100)" in text
    assert f"{runs.sheeps[2].xp.sig} (job 101_1)" in text


def test_a_plan_shows_what_differs_and_what_is_done(lab):
    runs = gather(lab, "smoke")
    folder = Path(runs.sheeps[1].xp.folder)
    folder.mkdir(parents=True)
    (folder / "history.json").write_text('[{"train": {"loss": 1.0}}]')
    text = plan(lab, runs)
    overview, table = text.split("What differs:")[0], text.split("What differs:")[1]
    header, *lines = table.strip().split("\n\n")[0].splitlines()
    assert header.split() == [
        "index", "sig", "model", "loss", "train.batch_size", "train.items"
    ]  # fmt: skip
    assert [line.split()[1:] for line in lines] == [
        [runs.sheeps[0].xp.sig, "openunmix_tiny", "l1", "4", "8"],
        [runs.sheeps[1].xp.sig, "hdemucs_tiny", "l1", "4", "8"],
        [runs.sheeps[2].xp.sig, "hdemucs_tiny", "mse", "4", "8"],
        [runs.sheeps[3].xp.sig, "hdemucs_tiny", "l1", "8", "16"],
    ]
    progress = [line.split()[1:3] for line in overview.rstrip().splitlines()[-4:]]
    done = ["-/2", "1/2", "-/2", "-/2"]
    assert progress == [[s.xp.sig, epochs] for s, epochs in zip(runs.sheeps, done, strict=True)]


def test_signatures_are_doras_own(lab, tmp_path):
    for sheep in gather(lab, "smoke").sheeps:
        assert sheep.xp.sig == lab.get_xp(sheep.xp.argv).sig
    assert compose_xp(lab, ["loss=mse", "misc.workers=0"]).sig == lab.get_xp(["loss=mse"]).sig


def test_overrides_outside_the_signature_go_to_every_run(lab):
    plain, changed = gather(lab, "smoke"), gather(lab, "smoke", overrides=["misc.workers=0"])
    assert [s.xp.sig for s in changed.sheeps] == [s.xp.sig for s in plain.sheeps]
    assert all(sheep.xp.cfg.misc.workers == 0 for sheep in changed.sheeps)
    assert all(sheep.xp.argv[-1] == "misc.workers=0" for sheep in changed.sheeps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "smok: there is no such grid. Did you mean 'smoke'?"),
        (["smoke", "nothing"], "smoke: none of its 4 runs matches nothing"),
        (["smoke", "9"], "smoke: none of its 4 runs matches 9"),
        (["smoke", "-o", "optim.lr=1"], "optim.lr=1: would make other runs than the grid's"),
        (["smoke", "-o", "misc"], "misc: not an override"),
    ],
)
def test_mistakes_are_one_sentence(lab, capsys, arguments, message):
    assert grid_main([*arguments, "--plan"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"grid: {message}")
    assert printed.err.count("\n") == 1


def test_impossible_numbers_of_gpus_are_one_sentence(lab, capsys, monkeypatch):
    lab_slurm = lab.get_slurm_config()
    lab_slurm.gpus = 12
    monkeypatch.setattr(lab, "get_slurm_config", lambda: lab_slurm)
    assert grid_main(["baselines", "--plan"]) == 1
    assert "multiple of 8" in capsys.readouterr().err


def test_a_shepherd_without_slurm_makes_no_folder(lab):
    OfflineShepherd(lab).get_sheep_from_argv(["loss=mse"])
    assert not Path(lab.dora.dir).exists()
