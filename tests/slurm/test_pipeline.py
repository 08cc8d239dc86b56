"""`tools.pipeline --slurm`: jobs that wait for one another, and what a failure does to them."""

import sys

import pytest

pytestmark = pytest.mark.slurm

CHAIN = '''
"""Does a failure reach what is behind it alone?"""

from grids._base import preset
from tools.pipeline_steps import OUT, Pipeline


def pipeline(p: Pipeline) -> None:
    p.slurm_(**preset("cpu", mem_per_gpu=1, time=60))
    first = p.tool("first", "step", "--out", OUT / "text")
    second = p.tool("second", "step", "--out", OUT / "text", "--in", first.path / "text")
    p.tool("third", "step", "--out", OUT / "text", "--in", second.path / "text")
    p.tool("beside", "step", "--out", OUT / "text", "--in", first.path / "text", "--also", 1)
'''
STEP = """
import os, pathlib, sys

words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out = pathlib.Path(words["--out"])
if "--also" not in words and "--in" in words and not pathlib.Path("mended").exists():
    sys.exit("the cause")
out.parent.mkdir()
out.write_text(os.environ["SLURM_JOB_ID"])
"""


def test_a_failure_cancels_what_waits_for_it_and_the_same_command_goes_on(slurm, clone):
    (clone.root / "tools" / "pipelines" / "chain.py").write_text(CHAIN)
    (clone.root / "step.py").write_text(STEP)

    def submit() -> dict[str, str]:
        command = (sys.executable, "-m", "tools.pipeline", "chain", "--slurm")
        printed = slurm.command(*command, cwd=clone.root, **clone.environment)
        lines = [line for line in printed.splitlines() if ": job " in line]
        return {line.split()[0]: line.rpartition(" ")[2] for line in lines}

    jobs = submit()
    assert list(jobs) == ["first", "second", "third", "beside"]
    slurm.wait(jobs["second"], "FAILED")
    slurm.wait(jobs["third"], "CANCELLED")
    for name in ("first", "beside"):
        slurm.wait(jobs[name])

    (clone.root / "mended").touch()
    again = submit()
    assert list(again) == ["second", "third"]
    slurm.wait(again["third"])
    assert submit() == {}
    texts = sorted((clone.root / "outputs" / "pipelines" / "steps").glob("*/out/text"))
    ran_in = {path.read_text() for path in texts}
    assert ran_in == {jobs["first"], jobs["beside"], again["second"], again["third"]}
