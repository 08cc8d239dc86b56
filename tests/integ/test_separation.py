"""`stemgrid separate` as real processes: bad files by the hundred, kills, interrupts."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_release import make_repo

from mss.core.audio_io import audio_info, write_audio

pytestmark = pytest.mark.integ

STEMS = ("drums.wav", "vocals.wav")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repo(tmp_path_factory.mktemp("release_models"))


@pytest.fixture
def command(repo: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that makes a command line of a tiny model."""

    def make(*arguments: str | Path) -> list[str]:
        options = ["--repo", str(repo), "-n", "openunmix", "--device", "cpu", "--threads", "1"]
        return [sys.executable, "-m", "mss", "separate", *options, *map(str, arguments)]

    return make


def run(command: list[str], repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=110,
    )


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def noise(channels: int, frames: int, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(channels, frames, generator=torch.Generator().manual_seed(seed))


class Inputs:
    """Files good and bad, drawn by a seed; knows what is expected of each."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.good: dict[Path, tuple[int, int, int]] = {}  # rate, channels, frames
        self.bad: list[Path] = []
        self._random = random.Random(seed)
        folder.mkdir()

    def add(self, index: int) -> None:
        """Add one input of the kind whose turn it is."""
        kinds = (
            self._truncated,
            self._truncated,
            self._empty,
            self._no_samples,
            self._wrong_ending,
            self._not_finite,
            self._low_mono,
            self._high_rate,
            self._surround,
            self._text,
            self._random_bytes,
            self._directory,
            self._unreadable,
            self._unicode,
            self._long_name,
        )
        kinds[index % len(kinds)](index)

    def _write(self, name: str, rate: int, channels: int, frames: int, index: int) -> Path:
        path = self.folder / name
        write_audio(path, noise(channels, frames, index), rate)
        return path

    def _add_good(self, path: Path) -> None:
        info = audio_info(path)
        assert info.frames is not None
        self.good[path] = (info.samplerate, info.channels, info.frames)

    def _truncated(self, index: int) -> None:
        """Cut somewhere between the first byte and well before the end."""
        ending = self._random.choice(("wav", "flac", "mp3", "ogg", "m4a"))
        path = self._write(f"truncated {index}.{ending}", 44100, 2, 44100, index)
        content = path.read_bytes()
        path.write_bytes(content[: self._random.randrange(1, len(content) * 9 // 10)])
        self.bad.append(path)

    def _empty(self, index: int) -> None:
        path = self.folder / f"empty {index}{self._random.choice(('.wav', '.mp3', '.flac', ''))}"
        path.touch()
        self.bad.append(path)

    def _no_samples(self, index: int) -> None:
        ending = self._random.choice(("wav", "flac"))
        self.bad.append(self._write(f"no samples {index}.{ending}", 8000, 2, 0, index))

    def _wrong_ending(self, index: int) -> None:
        """The content decides, so these are good."""
        ending, other = self._random.choice((("wav", "mp3"), ("flac", "wav"), ("ogg", "flac")))
        path = self._write(f"wrong ending {index}.{ending}", 8000, 1, 3000, index)
        self._add_good(path.rename(path.with_suffix(f".{other}")))

    def _not_finite(self, index: int) -> None:
        path = self.folder / f"not finite {index}.wav"
        samples = np.zeros((4000, 2), dtype=np.float32)
        samples[self._random.randrange(4000), 1] = self._random.choice((np.nan, np.inf, -np.inf))
        soundfile.write(path, samples, 8000, subtype="FLOAT")
        self.bad.append(path)

    def _low_mono(self, index: int) -> None:
        frames = self._random.randrange(1, 9000)
        self._add_good(self._write(f"mono {index}.wav", 8000, 1, frames, index))

    def _high_rate(self, index: int) -> None:
        frames = self._random.randrange(1, 20000)
        self._add_good(self._write(f"high rate {index}.flac", 192000, 2, frames, index))

    def _surround(self, index: int) -> None:
        self._add_good(self._write(f"surround {index}.wav", 48000, 6, 9000, index))

    def _text(self, index: int) -> None:
        path = self.folder / f"text {index}.wav"
        path.write_text("Dear diary,\n" * self._random.randrange(1, 900))
        self.bad.append(path)

    def _random_bytes(self, index: int) -> None:
        magics = b"", b"RIFF", b"fLaC", b"OggS", b"ID3\4", b"\xff\xfb", b"\0\0\0 ftyp"
        magic = self._random.choice(magics)
        path = self.folder / f"bytes {index}{self._random.choice(('.wav', '.flac', '.mp3'))}"
        path.write_bytes(magic + self._random.randbytes(self._random.randrange(1, 5000)))
        self.bad.append(path)

    def _directory(self, index: int) -> None:
        path = self.folder / f"directory {index}.wav"
        path.mkdir()
        self.bad.append(path)

    def _unreadable(self, index: int) -> None:
        """Of what fails for root, too; and of what does not exist."""
        path = self.folder / f"unreadable {index}.wav"
        kind = self._random.randrange(4)
        if kind == 0:
            path.symlink_to("nowhere")
        elif kind == 1:
            path.symlink_to(path.name)
        elif kind == 2:
            path = path / "beneath nothing.wav"
        else:
            os.mkfifo(path)
        self.bad.append(path)

    def _unicode(self, index: int) -> None:
        letters = "\u0416\u03b1\u65e5\U0001f3b5\u0301\u202e"
        name = "".join(self._random.choice(letters) for _ in range(9))
        self._add_good(self._write(f"{name} {index}.wav", 8000, 2, 2000, index))

    def _long_name(self, index: int) -> None:
        if self._random.randrange(2):
            self._add_good(self._write(f"{index} ".ljust(200, "x") + ".wav", 8000, 2, 2000, index))
            longest = next(reversed(self.good))
            facts = self.good.pop(longest)
            self.good[longest.rename(self.folder / (f"{index} ".ljust(251, "x") + ".wav"))] = facts
        else:
            self.bad.append(self.folder / (f"{index} ".ljust(400, "x") + ".wav"))


def test_two_hundred_inputs_of_every_kind(
    command: Callable[..., list[str]], tmp_path: Path, repository: Path
) -> None:
    inputs = Inputs(tmp_path / "in", seed=0)
    for index in range(200):
        inputs.add(index)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff\xfe.wav")
    shutil.copy(next(path for path in inputs.good if path.suffix == ".wav"), odd)
    out = tmp_path / "out"
    everything = [*inputs.bad, *inputs.good, Path(odd)]
    random.Random(1).shuffle(everything)
    before = sorted(inputs.folder.rglob("*"))

    done = run(command(*everything, "-o", out, "--json", "--jobs", "2"), repository)

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    told = events(done.stdout)
    failed = {Path(e["file"]): e["error"] for e in told if e["event"] == "failed"}
    finished = {Path(e["file"]): e for e in told if e["event"] == "done"}
    assert sorted(failed) == sorted([*inputs.bad, Path(odd)])
    assert sorted(finished) == sorted(inputs.good)
    for path, message in failed.items():
        assert message.startswith(str(path)), message
        assert "\n" not in message
        assert 30 < len(message) - len(str(path)) < 300, message
    # before it may stand what libmpg123 itself warns of
    _, _, listed = done.stderr.partition("stemgrid: error: ")
    head, *lines = listed.splitlines()
    assert head == f"{len(failed)} of 201 files could not be separated:"
    assert len(lines) == len(failed)
    assert all(line.startswith(f"  {inputs.folder}") for line in lines)
    for path, facts in inputs.good.items():
        for stem in finished[path]["stems"].values():
            info = audio_info(stem)
            assert (info.samplerate, info.channels, info.frames) == facts, path
    assert len([p for p in out.rglob("*") if p.is_file()]) == 2 * len(inputs.good)
    assert len(list(out.rglob("*"))) == 3 * len(inputs.good)
    assert sorted(inputs.folder.rglob("*")) == before


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Twenty songs of 19 s: three blocks of reading."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for index in range(20):
        write_audio(folder / f"{index:02}.wav", noise(2, 150_000 + index, index), 8000, "PCM_16")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def start_and_signal(
    command: list[str], number: signal.Signals, repository: Path, songs_done: int
) -> int:
    """Start a command that tells JSON; send a signal in the middle of a song; return its status."""
    process = subprocess.Popen(
        command,
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            songs_done -= json.loads(line)["event"] == "done"
            if songs_done <= 0:
                break
        time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in told
    return process.returncode


def test_killed_in_the_middle_and_run_again(
    command: Callable[..., list[str]], songs: Path, tmp_path: Path, repository: Path
) -> None:
    out = tmp_path / "out"
    again = command(songs, "-o", out, "--json", "--jobs", "2", "--skip-existing")
    assert start_and_signal(again, signal.SIGKILL, repository, songs_done=7) == -signal.SIGKILL
    complete = {path.parent.name for path in out.glob("[0-9]*/*.wav")}
    assert 7 <= len(complete) < 20
    assert list(out.glob(".*")), "nothing was killed in its middle"

    done = run(again, repository)
    assert done.returncode == 0, done.stderr
    told = events(done.stdout)
    skipped = {Path(e["file"]).stem for e in told if e["event"] == "skipped"}
    # one that was killed when its files had just moved is done again
    assert skipped <= complete
    assert len(complete - skipped) <= 2
    assert told[-1]["done"] + told[-1]["skipped"] == 20

    other = command(songs, "-o", tmp_path / "other")
    undisturbed = run(other, repository)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert content(out) == content(tmp_path / "other")
    assert len(content(out)) == 40
    assert list(out.glob(".*")) == []


@pytest.mark.parametrize(
    ("number", "status", "rescale"),
    [(signal.SIGINT, 130, "none"), (signal.SIGTERM, 143, "shared")],
    ids=["SIGINT", "SIGTERM"],
)
def test_an_interrupted_run_leaves_whole_songs_only(
    number: signal.Signals,
    status: int,
    rescale: str,
    command: Callable[..., list[str]],
    songs: Path,
    tmp_path: Path,
    repository: Path,
) -> None:
    out = tmp_path / "out"
    line = command(songs, "-o", out, "--json", "--jobs", "2", "--rescale", rescale)
    assert start_and_signal(line, number, repository, songs_done=2) == status
    assert list(out.glob(".*")) == []
    made = list(out.iterdir())
    assert 2 <= len(made) < 20
    for song in made:
        assert sorted(path.name for path in song.iterdir()) == list(STEMS)
        for stem in STEMS:
            assert audio_info(song / stem).frames == 150_000 + int(song.name)


def test_interrupted_before_the_first_song_is_done(
    command: Callable[..., list[str]], tmp_path: Path, repository: Path
) -> None:
    """Nothing is there then, not even the folder."""
    song = tmp_path / "long.wav"
    write_audio(song, noise(2, 8000 * 200, 0), 8000, "PCM_16")
    line = command(song, "-o", tmp_path / "deep" / "out", "--json")
    assert start_and_signal(line, signal.SIGINT, repository, songs_done=0) == 130
    assert sorted(tmp_path.iterdir()) == [song]
