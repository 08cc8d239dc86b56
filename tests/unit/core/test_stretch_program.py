"""What soundstretch is given, and what becomes of it when it fails: programs that pose as it."""

import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.stretch_program import SoundstretchProgram

COPY = 'cat "$1" > "$2"'


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def pose(tmp_path: Path):
    """Make a program of shell lines; $1 and $2 are its input and output."""

    def make(*lines: str, seconds: float = 60.0) -> SoundstretchProgram:
        path = tmp_path / "soundstretch"
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(0o755)
        return SoundstretchProgram(str(path), seconds)

    return make


def noise(channels: int = 2, frames: int = 2000, level: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return level * torch.rand(channels, frames, generator=generator) - level / 2


def test_it_gets_16_bit_pcm_with_head_room(pose, tmp_path: Path) -> None:
    given = noise(level=5.0)
    program = pose(f'cat "$1" > "{tmp_path}/given.wav"', f'echo "$3 $4 $5" > "{tmp_path}/words"')
    with pytest.raises(DataError, match="no WAV"):
        program(given, 8000, -2, 1 / 3, speech=True)
    with wave.open(str(tmp_path / "given.wav"), "rb") as file:
        assert file.getparams()[:4] == (2, 2, 8000, 2000)
        samples = np.frombuffer(file.readframes(2000), "<i2").reshape(-1, 2).T
    assert np.abs(samples).max() == 8192  # a quarter of full scale
    scale = 8192 / float(given.abs().max())
    assert np.abs(samples - given.numpy() * scale).max() <= 0.5
    assert (tmp_path / "words").read_text().split() == [
        "-pitch=-2.000000",
        "-tempo=0.333333",
        "-speech",
    ]


def test_what_it_writes_is_scaled_back(pose) -> None:
    given = noise()
    changed = pose(COPY)(given, 8000, semitones=1)
    assert torch.allclose(changed, given, atol=1.5 / 8192 / 2 * 1.01)


def test_nothing_is_left_of_its_files(pose, tmp_path: Path, temporary_folder: Path) -> None:
    """They have no name even while it runs, so no death of a process leaves them behind."""
    program = pose(f'ls -A "{temporary_folder}" > "{tmp_path}/listed"', COPY)
    program(noise(), 8000, 1)
    assert (tmp_path / "listed").read_text() == ""
    with pytest.raises(DataError):
        pose("exit 1")(noise(), 8000, 1)
    assert list(temporary_folder.iterdir()) == []


def test_signals_of_a_scheduler_do_not_end_it(tmp_path: Path) -> None:
    """They reach every process of a job, which goes on to its next checkpoint."""
    path = tmp_path / "soundstretch"  # no shell, which would let through what is held back
    path.write_text(
        f"#!{sys.executable} -SE\n"
        "import os, shutil, signal, sys\n"
        "for name in ('TERM', 'INT', 'HUP', 'USR1', 'USR2'):\n"
        "    os.kill(os.getpid(), getattr(signal, f'SIG{name}'))\n"
        "shutil.copyfile(*sys.argv[1:3])\n"
    )
    path.chmod(0o755)
    given = noise()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    changed = SoundstretchProgram(str(path))(given, 8000, 1)
    assert torch.allclose(changed, given, atol=1e-3)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["echo first >&2", "echo 'Unable to open' >&2", "exit 255"], r"255 \(Unable to open\)"),
        (["exit 3"], r"status 3 \(it says nothing\)"),
        (["kill -KILL $$"], "signal 9"),
        (["exit 0"], "no WAV file"),
        (['head -c 1000 "$1" > "$2"'], "gave 2 channels of 239 samples in place of 2 of 2000"),
        (["printf 'something else, and enough of it' > \"$2\""], "no WAV file"),
    ],
)
def test_a_failure_names_the_program(pose, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=f"soundstretch.*{message}"):
        pose(*lines)(noise(), 8000, 1)


def test_another_rate_is_refused(pose, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "other.wav"), "wb") as file:
        file.setparams((2, 2, 16000, 2000, "NONE", ""))
        file.writeframes(bytes(8000))
    with pytest.raises(DataError, match=r"16000 Hz in place of .*8000 Hz"):
        pose(f'cat "{tmp_path}/other.wav" > "$2"')(noise(), 8000, 1)


def test_one_that_hangs_is_ended(pose, tmp_path: Path) -> None:
    program = pose(f'echo $$ > "{tmp_path}/pid"', "exec sleep 60", seconds=0.3)
    started = time.monotonic()
    with pytest.raises(DataError, match="soundstretch: did not end within"):
        program(noise(), 8000, 1)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_one_that_is_gone_is_a_configuration_error(pose, tmp_path: Path) -> None:
    program = pose(COPY)
    (tmp_path / "soundstretch").unlink()
    with pytest.raises(ConfigError, match=r"soundstretch: the program can't be started.*install"):
        program(noise(), 8000, 1)


def test_no_room_for_its_files_is_told(pose, temporary_folder: Path) -> None:
    program = pose(COPY)
    temporary_folder.rmdir()
    with pytest.raises(DataError, match=r"temporary files.*TMPDIR"):
        program(noise(), 8000, 1)


def test_its_version(pose) -> None:
    assert pose("echo '   SoundStretch v2.3.2 -  Copyright' >&2", "exit 255").version == "2.3.2"
    assert pose("echo 'Hello' >&2").version == "of an unknown version"


@pytest.mark.skipif(
    shutil.which("soundstretch") is None and "CI" not in os.environ,
    reason="soundstretch is not installed",
)
def test_it_is_remembered_by_its_path() -> None:
    program = SoundstretchProgram(str(shutil.which("soundstretch")))
    again = pickle.loads(pickle.dumps(program))
    assert (again.path, again.seconds, again.version) == (
        program.path,
        program.seconds,
        program.version,
    )
