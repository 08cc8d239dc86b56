"""Runs' folders as training leaves them, and programs that stand in for SLURM's."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def compose_once():
    """Compose each list of overrides once in all tests."""
    from mss.train import main

    compose = main._get_config_noinit
    return cache(lambda overrides: compose(list(overrides)))


@pytest.fixture
def lab(tmp_path, monkeypatch, compose_once):
    """The lab's main, with an outputs folder of its own."""
    from mss.train import main

    monkeypatch.setattr(main.dora, "dir", tmp_path / "outputs")
    monkeypatch.setattr(main, "_get_config_noinit", lambda given=(): compose_once(tuple(given)))
    return main


def epoch(number: int, nsdr: dict[str, float | None], *, full: bool = True, best: float) -> dict:
    """One epoch of a history."""
    known = [value for value in nsdr.values() if value is not None]
    return {
        "epoch": number,
        "train": {"loss": 0.5 / number, "seconds": 10.0},
        "valid": {
            "loss": 0.25 / number,
            "nsdr": sum(known) / len(known),
            **{f"nsdr_{stem}": value for stem, value in nsdr.items()},
            "best": best,
            "full": full,
            "seconds": 2.0,
        },
    }


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Write a run's history and test scores."""

    def write(
        folder: Path,
        history: Any = None,
        tracks: dict[str, dict[str, float | None]] | None = None,
        fingerprint: str = "f" * 64,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if history is not None:
            (folder / "history.json").write_text(json.dumps(history))
        if tracks is not None:
            content = {
                "dset": "demo_tiny",
                "split": "test",
                "fingerprint": fingerprint,
                "sources": sorted({source for scores in tracks.values() for source in scores}),
                "tracks": {name: {"nsdr": scores} for name, scores in tracks.items()},
            }
            (folder / "test_tracks.json").write_text(json.dumps(content))
        return folder

    return write


@pytest.fixture
def make_epoch() -> Callable[..., dict]:
    return epoch


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Put shell scripts on a PATH that holds nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return folder

    return install
