"""A real SLURM for these tests, and a copy of the clone for its jobs."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

Answer = TypeVar("Answer")

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]
PARTS = ("conf", "grids", "mss", "slurm", "tools")

# For good; a preempted job, or one of a failed node, may start again.
ENDED = {"CANCELLED", "COMPLETED", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}


def run(*command: str | Path, cwd: Path | None = None, environment: dict[str, str] | None) -> str:
    """Return what a command printed; insist that it went well."""
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Slurm:
    """SLURM's commands. A job is given by its number, one of an array by NUMBER_INDEX."""

    environment: dict[str, str]
    log_folders: list[Path] = field(default_factory=list)

    def command(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        """Return what a command printed; `variables` are added to its environment."""
        return run(*command, cwd=cwd, environment={**self.environment, **variables})

    def submit(self, *arguments: object, cwd: Path, **variables: str) -> str:
        """Submit by `sbatch ARGUMENTS` from the folder `cwd`; return the job."""
        words = [str(argument) for argument in arguments]
        return self.command("sbatch", "--parsable", *words, cwd=cwd, **variables)

    def states(self, job: str) -> list[str]:
        """Return the state of the job, or of each part of an array, as accounting has them."""
        printed = self.command("sacct", "-X", "-n", "-P", "-j", job, "-o", "State")
        return [line.split()[0] for line in printed.splitlines()]  # of "CANCELLED by 0"

    def state(self, job: str) -> str:
        """Return the job's state; "" while accounting has not heard of it."""
        return next(iter(self.states(job)), "")

    def wait(self, job: str, state: str = "COMPLETED", within: float = 120, parts: int = 1) -> None:
        """Wait until the job, or every one of the `parts` of an array, is in a state.

        Fails after `within` seconds, or as soon as the job has ended in another state.
        """

        def reached() -> bool:
            states = self.states(job)
            if set(states) & (ENDED - {state}):
                pytest.fail(f"job {job}: {states}, not {state}\n{self.report(job)}")
            # accounting forgets a part of an array for a moment when it starts
            return states.count(state) == max(parts, len(states))

        self.until(reached, job, state, within, pause=1)

    def until(
        self,
        condition: Callable[[], Answer],
        job: str,
        what: str,
        within: float = 120,
        pause: float = 0.1,
    ) -> Answer:
        """Wait until a condition of the job answers with something true, and return that."""
        end = time.monotonic() + within
        while not (answer := condition()):
            if time.monotonic() > end:
                pytest.fail(f"job {job}: no {what} within {within} s\n{self.report(job)}")
            time.sleep(pause)
        return answer

    def show(self, job: str) -> dict[str, str]:
        """Return those fields of `scontrol show job` whose values have no blanks."""
        words = self.command("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def restarts(self, job: str) -> int:
        """Return how often the job was requeued."""
        return int(self.show(job)["Restarts"])

    def log_path(self, job: str) -> Path:
        """Return the file of the job's output: sbatch's, or the one where a wrapper put it."""
        shown = self.command("scontrol", "show", "job", job)
        opened = Path(shown.split("\n   StdOut=", 1)[1].splitlines()[0])
        moved = [path for folder in self.log_folders for path in folder.glob(f"*-{job}.log")]
        return next(iter(moved), opened)

    def log(self, job: str) -> str:
        """Return the job's output."""
        return self.log_path(job).read_text()

    def report(self, job: str) -> str:
        """Return what helps to see why a job went wrong."""
        path = self.log_path(job)
        log = path.read_text()[-5000:] if path.exists() else "(not there)"
        return "\n".join((self.command("scontrol", "show", "job", job), f"{path}:", log))


@dataclass(frozen=True)
class Clone:
    """A copy of the lab, and the environment in which its jobs write there alone."""

    root: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.root / "outputs" / "xps"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def _environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what would lead jobs elsewhere."""
    ours = ("STEMGRID", "MSS_", "DORA_", "SLURM_", "SBATCH_", "SRUN_")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}


@pytest.fixture(scope="session")
def slurm():
    """The SLURM in $SLURM_LAB_DIR; where none is up, it is started, and stopped at the end."""
    folder = Path(os.environ.get("SLURM_LAB_DIR", "/run/stemgrid-slurm-lab"))
    was_up = "already up" in run(HERE / "start.sh", environment=None)
    yield Slurm(_environment(SLURM_CONF=str(folder / "etc" / "slurm.conf")))
    if not was_up:
        run(HERE / "stop.sh", environment=None)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache of indices and demo songs for all jobs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_clone(slurm, tmp_path, cache) -> Callable[[str], Clone]:
    def make(name: str) -> Clone:
        root = tmp_path / name
        for part in PARTS:
            shutil.copytree(CLONE / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        made = Clone(root, {"STEMGRID_CACHE": str(cache), "PYTHONPATH": str(root)})
        slurm.log_folders.append(made.logs)
        return made

    return make


@pytest.fixture
def clone(make_clone) -> Clone:
    return make_clone("the clone")  # a blank in a path is common enough
