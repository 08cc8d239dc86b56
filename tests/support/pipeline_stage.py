"""Pipelines of toy steps: a tool and a `dora` that do next to nothing, and note it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tools.machine import Machine
from tools.pipeline_local import run_here
from tools.pipeline_plan import Plan
from tools.pipeline_planner import make_plan
from tools.pipeline_steps import Pipeline

NOTE = textwrap.dedent(
    """
    import argparse, json, os, pathlib, sys, time

    def note(what, word):
        line = {"what": what, "word": word, "time": time.monotonic(), "pid": os.getpid(),
                "threads": os.environ.get("OMP_NUM_THREADS"), "argv": sys.argv[1:],
                "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
        with open(os.environ["JOURNAL"], "a") as journal:
            journal.write(json.dumps(line) + "\\n")
    """
)
TOY = NOTE + textwrap.dedent(
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--word", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--in", dest="inputs", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--also", help="is promised, but not made")
    args = parser.parse_args()
    note("start", args.word)
    args.out.mkdir(parents=True, exist_ok=True)
    half = args.out / "half"
    again = "again-" if half.exists() else ""
    half.touch()
    time.sleep(json.loads(os.environ.get("SLEEP", "{}")).get(args.word, 0))
    if args.word in os.environ.get("FAIL", "").split():
        print("the cause of", args.word)
        sys.exit(3)
    text = again + args.word + "".join(f"({path.read_text()})" for path in args.inputs)
    (args.out / "made.txt").write_text(text)
    note("end", args.word)
    """
)
DORA = NOTE + textwrap.dedent(
    """
    argv = [part for part in sys.argv[1:] if "=" in part and not part.startswith("--")]
    folder = pathlib.Path(json.loads(os.environ["FOLDERS"])[" ".join(argv)])
    note("start", folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.th").write_text(" ".join(argv))
    """
)

Declare = Callable[[Pipeline], None]


class Stage:
    """Runs toy pipelines; knows what was started."""

    def __init__(self, folder: Path, lab, monkeypatch) -> None:
        self.folder = folder
        self.lab = lab
        self.monkeypatch = monkeypatch
        self.journal = folder / "journal"
        self.journal.touch()
        for name, content in (("here/toy", TOY), ("there/dora", DORA)):
            path = folder / f"{name}.py"
            path.parent.mkdir()
            path.write_text(content)
        # the steps' processes have a stand-in for dora, this one has not
        monkeypatch.syspath_prepend(folder / "here")
        monkeypatch.setenv(
            "PYTHONPATH", os.pathsep.join((str(folder / "there"), str(folder / "here")))
        )
        monkeypatch.setenv("JOURNAL", str(self.journal))
        monkeypatch.setenv("STEMGRID_REPO", str(folder / "models"))
        for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RANK", "FAIL", "SLEEP"):
            monkeypatch.delenv(name, raising=False)

    def plan(self, declare: Declare, **data: Path) -> Plan:
        """Return the plan of a pipeline."""
        pipeline = Pipeline()
        declare(pipeline)
        plan = make_plan(self.lab, "toy", pipeline, data)
        folders = {
            " ".join(planned.xp.argv): str(planned.xp.folder)
            for planned in plan.steps.values()
            if planned.xp is not None
        }
        self.set(FOLDERS=folders)
        return plan

    def run(
        self, plan: Plan, until: str | None = None, jobs: int = 1, **options
    ) -> tuple[int, list[str]]:
        """Run a plan; return the status and the words of the steps that were started."""
        before = len(self.notes("start"))
        options = {"machine": Machine((), 4), "grace": 20, **options}
        status = run_here(plan, until, jobs, **options)
        return status, [line["word"] for line in self.notes("start")[before:]]

    def worker(self, folder: Path, **environment: str) -> subprocess.Popen:
        """Start the worker of a step, as SLURM or another call would."""
        return subprocess.Popen(
            [sys.executable, "-m", "tools.pipeline_worker", str(folder)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def set(self, **variables: object) -> None:
        """Set variables of the steps' environment; mappings as JSON."""
        for name, value in variables.items():
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            self.monkeypatch.setenv(name, text)

    def notes(self, what: str) -> list[dict]:
        """Return what the steps noted."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line["what"] == what]

    def wait_for_start(self, word: str) -> dict:
        """Wait until a step has started; return its note."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self.notes("start"):
                if line["word"] == word:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{word} did not start")

    def terminate_when(self, word: str) -> threading.Thread:
        """Send this process TERM once a step has started."""

        def wait() -> None:
            self.wait_for_start(word)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


def made(plan: Plan, name: str) -> str:
    """Return what a toy step made."""
    return (plan.steps[name].path / "made.txt").read_text()
