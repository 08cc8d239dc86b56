"""An evaluation that is killed, and one that two processes share: the same files in the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch

pytestmark = pytest.mark.integ

RATE = 8000
STEMS = ("bass", "vocals")
SONGS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs to score, and stems of them that were separated elsewhere."""
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for index in range(SONGS):
        for stem in STEMS:
            wave = 0.1 * torch.randn(4 * RATE, 2, generator=generator)
            leak = 0.03 * torch.randn(4 * RATE, 2, generator=generator)
            for folder, audio in (("songs/test", wave), ("separated", wave + leak)):
                path = root / folder / f"song {index}" / f"{stem}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, audio.numpy(), RATE)
    return root


def command(data: Path, out: Path, *more: str) -> list[str]:
    settings = ["dset=folder", f"dset.root={data / 'songs'}", f"dset.samplerate={RATE}"]
    tool = ["-m", "tools.test_pretrained", "--estimates", str(data / "separated"), "-o", str(out)]
    return [*tool, *settings, "test=museval", "misc.threads=1", *more]


def run(arguments: Sequence[str], repository: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=repository,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    return out


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(
    data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    table = finish(run(command(data, out), repository))
    assert "csdr in dB" in table
    files = content(out)
    summary = json.loads(next(text for path, text in files.items() if "summary" in path))
    assert len(summary["tracks"]) == SONGS
    return files


def test_killed_and_started_again(
    data: Path, repository: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    process = run(command(data, tmp_path), repository)
    deadline = time.monotonic() + 90
    while not list(tmp_path.rglob("tracks/song*.json")):  # no hidden one, that is being written
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("tracks/song*.json")}
    assert 0 < len(kept) < SONGS
    finish(run(command(data, tmp_path), repository))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert content(tmp_path) == undisturbed


def test_two_ranks_and_two_workers(
    data: Path, repository: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """As torchrun starts them."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "20917"}
    arguments = command(data, tmp_path, "test.workers=2")
    ranks = [
        run(arguments, repository, RANK=rank, LOCAL_RANK=rank, **shared) for rank in ("0", "1")
    ]
    tables = [finish(rank) for rank in ranks]
    assert "csdr in dB" in tables[0]
    assert tables[1].strip() == ""  # the first one tells
    assert content(tmp_path) == undisturbed
