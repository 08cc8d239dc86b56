"""An evaluation that is shared, stopped and taken up: the same files in the end."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.eval.estimators import Song
from mss.eval.protocol import Protocol, System
from mss.eval.results import ResultsFolder
from mss.eval.runner import evaluate_set
from mss.metrics.bsseval_metric import BSSEval
from mss.metrics.energy import NSDR

RATE = 1000
TARGETS = TargetMap.make(None, ("drums", "bass"))
METRICS = (NSDR(), BSSEval())


@dataclass
class Noise:
    """A Track of seeded noise, which travels to other processes."""

    name: str
    samplerate: int = RATE
    channels: int = 1
    length: int = 3 * RATE
    stems: tuple[str, ...] = ("drums", "bass")
    has_mixture: bool = False

    def read(self, stem: str, start: int = 0, frames: int | None = None) -> Tensor:
        seed = sum(map(ord, self.name + stem))
        wave = 0.1 * torch.randn(1, self.length, generator=torch.Generator().manual_seed(seed))
        return wave[:, start : None if frames is None else start + frames]


TRACKS = [Noise(name) for name in "abcd"]


@dataclass
class Halves:
    """An estimator that gives each source half of the mixture; it may die at a song."""

    dies_at: str | None = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, song: Song) -> Tensor:
        if song.track.name == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append(song.track.name)
        return torch.stack([0.5 * song.mixture] * 2)


def folder_in(root: Path) -> ResultsFolder:
    protocol = Protocol(
        "noise", "test", "ab", RATE, 1, TARGETS, tuple(m for x in METRICS for m in x.measures)
    )
    return ResultsFolder(root, System("halves"), protocol, METRICS)


def evaluate(root: Path, estimator: Any, **options: Any) -> Any:
    return evaluate_set(estimator, TRACKS, TARGETS, METRICS, folder_in(root), **options)


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed")
    evaluate(root, Halves())
    return content(root)


def test_files(undisturbed: dict[str, bytes]) -> None:
    place = "halves/noise-test/nsdr+bsseval"
    assert list(undisturbed) == [
        "halves/noise-test/.nsdr+bsseval.lock",
        *(f"{place}/museval/test/{name}.json" for name in "abcd"),
        f"{place}/settings.json",
        f"{place}/summary.json",
        *(f"{place}/tracks/{name}.json" for name in "abcd"),
    ]


def test_it_goes_on_with_the_next_song(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    first = Halves(dies_at="c")
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, first)
    assert not list(tmp_path.rglob("summary.json"))
    assert len(list(tmp_path.rglob("tracks/*.json"))) == 2
    second = Halves()
    summary = evaluate(tmp_path, second)
    assert (first.asked, second.asked) == (["a", "b"], ["c", "d"])
    assert summary.tracks == 4
    assert content(tmp_path) == undisturbed
    third = Halves()
    evaluate(tmp_path, third)
    assert third.asked == []
    evaluate(tmp_path, third, anew=True)
    assert third.asked == ["a", "b", "c", "d"]
    assert content(tmp_path) == undisturbed


def test_workers_change_no_digit(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    evaluate(tmp_path, Halves(), workers=2)
    assert content(tmp_path) == undisturbed


def test_a_fault_in_a_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a: the estimates hold samples"):
        evaluate(tmp_path, lambda song: torch.full((2, 1, 3 * RATE), torch.nan), workers=1)


def test_there_is_no_summary_while_songs_are_missing(tmp_path: Path) -> None:
    evaluate(tmp_path, Halves())
    next(tmp_path.rglob("tracks/c.json")).unlink()
    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, Halves(dies_at="c"))
    assert not list(tmp_path.rglob("summary.json"))


def test_songs_are_shared_by_what_is_missing(tmp_path: Path) -> None:
    """Two ranks of which the first has none of the old shares left."""
    evaluate(tmp_path, Halves())
    for name in "bd":
        next(tmp_path.rglob(f"tracks/{name}.json")).unlink()
    shares = []
    for rank in range(2):
        with (
            patch("mss.core.distrib.rank", lambda rank=rank: rank),
            patch("mss.core.distrib.world_size", lambda: 2),
            patch("mss.core.distrib.broadcast", lambda value: [1, 3]),
            patch("mss.core.distrib.barrier"),
        ):
            estimator = Halves()
            if rank == 0:
                with pytest.raises(AssertionError, match="without a result"):
                    evaluate(tmp_path, estimator)
            else:
                evaluate(tmp_path, estimator)
            shares.append(estimator.asked)
    assert shares == [["b"], ["d"]]


ORPHANS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_runner


def estimator(song):
    if song.track.name == "b":
        os.kill(os.getpid(), 9)
    return test_runner.Halves()(song)


if __name__ == "__main__":
    test_runner.evaluate(Path(sys.argv[2]), estimator, workers=1)
"""


def test_workers_end_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(ORPHANS)
    mark = f"EVALUATION_TEST={tmp_path}"
    main = subprocess.Popen(
        [sys.executable, script, Path(__file__).parent, tmp_path / "results"],
        env={**os.environ, **dict([mark.split("=", 1)])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert main.wait(timeout=60) == -9
    deadline = time.monotonic() + 30
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert marked(mark) == []


def marked(variable: str) -> list[str]:
    """Return the processes that have the environment variable."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:  # it ended, or is somebody else's
            continue
    return found


def test_no_songs_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 tracks"):
        evaluate_set(Halves(), [], TARGETS, METRICS, folder_in(tmp_path))


RANK = """
import sys
from datetime import timedelta
from pathlib import Path
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import test_runner
torch.set_num_threads(int(sys.argv[5]))
store = dist.FileStore(sys.argv[2], 2)
dist.init_process_group("gloo", store=store, rank=int(sys.argv[3]), world_size=2,
                        timeout=timedelta(seconds=60))
asked = test_runner.Halves()
summary = test_runner.evaluate(Path(sys.argv[4]), asked)
print(asked.asked, summary.tracks)
dist.destroy_process_group()
"""


def test_two_ranks_share_the_songs(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    results = tmp_path / "results"
    here, threads = str(Path(__file__).parent), str(torch.get_num_threads())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, here, str(tmp_path / "store"), rank, results, threads],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    outputs = [rank.communicate(timeout=90) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert [out.strip() for out, _ in outputs] == ["['a', 'c'] 4", "['b', 'd'] 4"]
    assert content(results) == undisturbed


def test_results_made_otherwise_stop_it(tmp_path: Path) -> None:
    evaluate(tmp_path, Halves())
    place = next(tmp_path.rglob("settings.json"))
    place.write_text(place.read_text().replace('"fingerprint": "ab"', '"fingerprint": "cd"'))
    with pytest.raises(ConfigError, match="made otherwise"):
        evaluate(tmp_path, Halves())
