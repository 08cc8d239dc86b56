"""A copy of the lab for runs that must not touch the clone, and its commands."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
PARTS = ("conf", "grids", "mss", "tools")


@dataclass
class Lab:
    """A working copy of the lab's folders with its own outputs and cache."""

    root: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.root / "outputs" / "xps"

    def command(self, *arguments: str) -> list[str]:
        """Return the full command of ``python -m ...``."""
        return [sys.executable, "-m", *arguments]

    def start(self, *arguments: str, log: Path) -> subprocess.Popen:
        """Start ``python -m ARGUMENTS`` in the background."""
        with log.open("w") as out:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment,
                stdout=out,
                stderr=out,
            )

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run ``python -m ARGUMENTS``; return what it printed, and insist on its status."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def wait_until(
        self, condition: Callable[[], object], process: subprocess.Popen, log: Path
    ) -> None:
        """Wait for two minutes at most, while the process runs."""
        end = time.monotonic() + 120
        while not condition():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)

    def train(self, *overrides: str, status: int = 0) -> str:
        return self.run("dora", "-P", "mss", "run", *overrides, status=status)

    def signature(self, *overrides: str) -> str:
        """Return the signature of a command line (in a process of its own: dora-search keeps
        state)."""
        printed = self.run("dora", "-P", "mss", "info", *overrides)
        return printed.split("Sheep(")[1].split(",")[0]


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache of indices and demo songs a test process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_lab(tmp_path, cache) -> Callable[[str], Lab]:
    def make(name: str = "lab") -> Lab:
        root = tmp_path / name
        for part in PARTS:
            shutil.copytree(CLONE / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("STEMGRID", "MSS_"))},
            "STEMGRID_CACHE": str(cache),
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        return Lab(root, environment)

    return make


@pytest.fixture
def lab(make_lab) -> Lab:
    return make_lab()
