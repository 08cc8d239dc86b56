"""Memory does not grow with a recording: what `stemgrid separate` takes at its peak."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mss.core import registry
from mss.core.audio_io import audio_info
from mss.core.types import AudioSpec
from mss.release.package import save_package
from mss.release.repo import Repo

pytestmark = [
    pytest.mark.integ,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc"),
]

RATE = 8000
SPEC = AudioSpec(("vocals",), samplerate=RATE, channels=1)

# Says the peak of the process's resident memory, kB, when it ends. A child's ru_maxrss would do but
# for what fork hands on: it starts at its parent's.
CHILD = """
import atexit, sys
def tell():
    with open("/proc/self/status") as status:
        print(next(line for line in status if line.startswith("VmHWM")).split()[1], file=sys.stderr)
atexit.register(tell)
from mss.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release_models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = registry.resolve("model", "hdemucs").tiny(SPEC)
    Repo(root).add(save_package(model, root, arch="hdemucs", signature="aaaa1111", scores={}))
    return root


def write_noise(path: Path, frames: int) -> None:
    """In blocks: this process stays small, too."""
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        for start in range(0, frames, 60 * RATE):
            out.write(0.1 * random.standard_normal(min(60 * RATE, frames - start)))


def peak_kilobytes(repo: Path, song: Path, out: Path, repository: Path) -> int:
    options = ["--repo", repo, "-o", out, "--device", "cpu", "--backend", "torch"]
    options += ["--threads", "1", "--batch-size", "1", "--segment", "2"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "separate", *map(str, options), str(song)],
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def test_twenty_minutes_take_the_memory_of_two(
    repo: Path, tmp_path: Path, repository: Path
) -> None:
    peaks = []
    for minutes in (2, 20):
        song = tmp_path / f"{minutes} minutes.wav"
        frames = minutes * 60 * RATE + 11
        write_noise(song, frames)
        peaks.append(peak_kilobytes(repo, song, tmp_path / "out", repository))
        stems = list((tmp_path / "out" / song.stem).iterdir())
        assert [stem.name for stem in stems] == ["vocals.wav"]
        info = audio_info(stems[0])
        assert (info.frames, info.samplerate, info.channels) == (frames, RATE, 1)
    assert peaks[0] > 50_000, "that is no process with torch in it"
    assert abs(peaks[1] - peaks[0]) <= 0.05 * peaks[0], peaks
