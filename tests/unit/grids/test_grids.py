"""The grids of the lab."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from omegaconf import DictConfig, OmegaConf

from mss.compose import CONF
from tools.grid_runs import gather, grid_names

NOT_IN_A_SIGNATURE = {"cluster", "slurm"}


def groups() -> Iterator[str]:
    """Every group that makes a signature."""
    for entry in OmegaConf.load(CONF / "config.yaml").defaults:
        if isinstance(entry, DictConfig):
            yield from (str(key) for key in entry if str(key) not in NOT_IN_A_SIGNATURE)


GRIDS = [
    "baselines",
    "label_noise",
    "label_noise_judges",
    "pseudo_label",
    "pskd",
    "pskd_hdemucs",
    "repro_hdemucs",
    "smoke",
]


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_asks_a_question_and_binds_every_main_axis(lab, name):
    runs = gather(lab, name)
    module = sys.modules[f"grids.{name}"]
    assert module.__doc__
    assert module.__doc__.splitlines()[0].split("?")[0] != module.__doc__.splitlines()[0]
    for sheep in runs.sheeps:
        bound = {argument.split("=", 1)[0] for argument in sheep.xp.argv}
        assert set(groups()) <= bound


def test_the_grids_are_these():
    assert grid_names() == GRIDS


def test_smoke_is_a_job_an_array_and_a_job_of_two_tasks(lab):
    runs = gather(lab, "smoke")
    assert [len(job) for job in runs.submissions] == [1, 2, 1]
    assert [runs.slurm[job[0]].gpus for job in runs.submissions] == [0, 0, 2]
    # longer than what submitit takes for a test of time-outs
    assert all(slurm.time >= 60 for slurm in runs.slurm.values())
    pair = runs.sheeps[-1].xp.cfg
    share = pair.train.batch_size // 2
    assert share % pair.augment.batch.remix.group_size == 0


def test_signatures_do_not_depend_on_how_jobs_are_submitted(lab):
    program = (
        "from mss.train import main; from tools.grid_runs import gather\n"
        "for name in ('smoke', 'baselines', 'repro_hdemucs'):\n"
        "    runs = gather(main, name)\n"
        "    print(name, *(sheep.xp.sig for sheep in runs.sheeps))\n"
        "    print(sorted({(slurm.gpus, slurm.partition) for slurm in runs.slurm.values()}))\n"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MSS_SLURM": "a100x8", "STEMGRID_PARTITION": "big"},
        cwd=CONF.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    # the grid's own preset rules, and the default one where a grid says nothing
    jobs = {"smoke": "[(0, 'big'), (2, 'big')]", "baselines": "[(8, 'big')]"}
    jobs["repro_hdemucs"] = jobs["baselines"]
    for (name, expected), listed, slurm in zip(
        jobs.items(), elsewhere[::2], elsewhere[1::2], strict=True
    ):
        here = [sheep.xp.sig for sheep in gather(lab, name).sheeps]
        assert listed == " ".join([name, *here])
        assert slurm == expected
