"""Exporting in a process of its own: where it goes, and what it says when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mss.api import exporting
from mss.api.exporting import ExportJob, export_store, main, run_export
from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import ConfigError, DataError
from mss.infer.backends import openvino
from mss.infer.backends.store import FOLDER
from mss.release.repo import Repo


@pytest.fixture
def repo(released: Path, tmp_path: Path) -> Path:
    """A copy: exported networks are written beside the releases."""
    return Path(shutil.copytree(released, tmp_path / "repo"))


def job_for(repo: Path, name: str = "openunmix", sources: tuple[str, ...] = ()) -> ExportJob:
    return ExportJob(str(repo), Repo(repo).load(name).name, sources, "openvino", 1, 1500, False)


def test_beside_the_releases(tmp_path: Path) -> None:
    assert export_store(tmp_path).root == tmp_path / FOLDER
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize("exists", [True, False])
def test_a_repo_that_can_not_be_written(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then they go where everything goes that may be deleted."""
    repo, cache = tmp_path / "repo", tmp_path / "cache"
    (repo / FOLDER if exists else repo).mkdir(parents=True)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    asked: list[Path] = []

    def access(path: Path, mode: int) -> bool:
        asked.append(Path(path))
        return False

    monkeypatch.setattr(exporting.os, "access", access)  # root may write anywhere
    assert export_store(repo).root == cache / "exported"
    assert asked == [repo / FOLDER if exists else repo]


def test_a_real_process_exports_once(repo: Path) -> None:
    """Only the networks of the sources that are wanted, where they can be told apart."""
    job = job_for(repo, sources=("vocals",))
    run_export(job)
    folders = list(export_store(repo).root.glob("openvino-*"))
    assert len(folders) == 1
    member = Repo(repo).load(job.name).members[0].keep_sources(["vocals"])
    store = export_store(repo)
    folder = store.folder(member, "openvino", 1, 1500)
    assert folders == [folder]
    about = store.find(folder)
    assert about is not None
    assert about.agreement_db["float32"] > 80


def test_every_member_of_a_bag(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        exporting.ExportStore, "prepare", lambda self, *given: prepared.append((self.root, *given))
    )
    job = replace(job_for(repo), name="both", batch=3)
    assert main([json.dumps(asdict(job))]) == 0
    bag = Repo(repo).load("both")
    assert [one[0] for one in prepared] == [repo / FOLDER] * 2
    assert [one[2:] for one in prepared] == [("openvino", 3, 1500)] * 2
    expected = [next(model.parameters()).sum() for model in bag.members]
    assert [next(one[1].parameters()).sum() for one in prepared] == expected
    assert not any(one[1].training for one in prepared)


def test_what_is_at_fault_is_said(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise ConfigError("backend: OpenVINO can't take it over; use torch")

    monkeypatch.setattr(openvino, "export", refuse)
    assert main([json.dumps(asdict(job_for(repo)))]) == 1
    assert capfd.readouterr().out == "backend: OpenVINO can't take it over; use torch\n"


def ended(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the process run other code."""
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        assert command[:3] == [sys.executable, "-m", "mss.api.exporting"]
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(exporting.subprocess, "Popen", start)


def test_a_fault_of_the_process_is_raised_here(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(monkeypatch, "print('backend: no counterpart; use torch'); raise SystemExit(1)")
    with pytest.raises(ConfigError, match=r"^backend: no counterpart; use torch$"):
        run_export(job_for(repo))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise MemoryError('of the exporter')", "MemoryError: of the exporter"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9"),
    ],
)
def test_a_process_that_was_ended(
    code: str, told: str, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(monkeypatch, code)
    job = job_for(repo)
    with pytest.raises(DataError) as caught:
        run_export(job)
    message = str(caught.value)
    assert message.startswith(f"{job.name}: exporting it for openvino ended ({told})")
    assert "--backend torch does without" in message
    assert "\n" not in message


def test_a_store_that_can_not_be_written(repo: Path) -> None:
    """A file lies in its place: a fault of the disk, told as one."""
    (repo / FOLDER).touch()
    with pytest.raises(DataError, match="check the permissions"):
        run_export(job_for(repo))
    assert os.listdir(repo).count(FOLDER) == 1


def test_an_interrupt_lets_the_process_clean_up(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, mark = tmp_path / "ready", tmp_path / "cleaned"
    process_class = subprocess.Popen
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "try:\n"
        f"    pathlib.Path({str(ready)!r}).touch()\n"
        "    time.sleep(60)\n"
        "finally:\n"
        f"    pathlib.Path({str(mark)!r}).touch()"
    )
    ended(monkeypatch, code)

    def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
        while not ready.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(process_class, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_export(job_for(repo))
    assert mark.exists()
