"""The command line without a model: help, wrong arguments, errors in one line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mss
from mss.cli import separate
from mss.cli.main import main
from mss.cli.models import format_scores, format_table
from mss.cli.reporting import FLOAT_FORMAT
from mss.core.audio_formats import parse_format
from mss.core.errors import ConfigError, DataError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"stemgrid {mss.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["separate", "--help"], ["models", "--help"], ["separate"]],
)
def test_answers_without_heavy_imports(arguments: list[str], repository: Path) -> None:
    """torch and what comes with it take seconds to import; a question must not wait for it."""
    code = (
        "import sys\n"
        "from mss.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'soundfile', 'tqdm', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_python_m_mss(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mss", "--version"], cwd=repository, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"stemgrid {mss.__version__}\n")


def test_a_reader_that_left_is_no_error(repository: Path) -> None:
    """As in ``stemgrid models --known | head -1``."""
    command = [sys.executable, "-m", "mss", "models", "--known"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            command, cwd=repository, stdout=out, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["seperate"], "invalid choice"),
        (["separate"], "FILE"),
        (["separate", "a.wav", "--format", "wav17"], "Did you mean 'wav16'"),
        (["separate", "a.wav", "--segment", "0"], "'0' is not a number of seconds"),
        (["separate", "a.wav", "--segment", "long"], "'long' is not a number of seconds"),
        (["separate", "a.wav", "--overlap", "1"], "'1' is not a number from 0 to below 1"),
        (["separate", "a.wav", "--overlap", "nan"], "'nan' is not a number from 0 to below 1"),
        (["separate", "a.wav", "--batch-size", "0"], "'0' is not a whole number"),
        (["separate", "a.wav", "--threads", "1.5"], "'1.5' is not a whole number"),
        (["separate", "a.wav", "--jobs", "0"], "'0' is not a whole number of at least 1"),
        (["separate", "a.wav", "--shifts", "-1"], "'-1' is not a whole number of at least 0"),
        (["separate", "a.wav", "--rescale", "stem"], "choose from"),
        (["separate", "a.wav", "--backend", "tensorrt"], "choose from"),
        (["separate", "a.wav", "--name-template", "{artist}.{ext}"], "Known: ext, folder, model"),
        (["separate", "a.wav", "--name-template", "../{song}.{ext}"], "out of the output folder"),
        (["separate", "a.wav", "--float32", "--format", "mp3"], "not allowed with"),
        (["separate", "a.wav", "--stems", "a", "--two-stems", "a"], "not allowed with"),
    ],
)
def test_wrong_arguments_exit_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("song.wav: is broken"), 1, "stemgrid: error: song.wav: is broken\n"),
        (ConfigError("overlap: no"), 1, "stemgrid: error: overlap: no\n"),
        (
            PermissionError(13, "Permission denied", "out"),
            1,
            "stemgrid: error: out: Permission denied\n",
        ),
        (KeyboardInterrupt(), 130, "stemgrid: interrupted\n"),
    ],
)
def test_errors_are_one_line(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        assert arguments.files == [Path("song.wav")]
        raise error

    monkeypatch.setattr(separate, "run", run)
    assert main(["separate", "song.wav"]) == code
    assert capsys.readouterr().err == message


def test_a_programming_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise ZeroDivisionError(arguments)

    monkeypatch.setattr(separate, "run", run)
    with pytest.raises(ZeroDivisionError):
        main(["separate", "song.wav"])


@pytest.mark.parametrize("command", [["models"], ["separate", "song.wav"]])
def test_no_model_at_hand_names_two_ways(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--repo", str(tmp_path / "nothing")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("stemgrid: error: no released model")
    assert "make demo" in lines[0]
    assert "--repo" in lines[0]


def test_scores_in_one_line() -> None:
    scores = {
        "nsdr/demo/test": {"vocals": 7.5, "mean": 6.449},
        "speed": 2,
        "broken": {"mean": None},
    }
    assert format_scores(scores) == "nsdr/demo/test 6.45, speed 2.00"
    assert format_scores({}) == ""


def test_table_columns_line_up() -> None:
    assert format_table([("A", "LONG"), ("long", "b")]) == "A     LONG\nlong  b"


def test_the_advised_format_holds_samples_beyond_full_scale() -> None:
    assert not parse_format(FLOAT_FORMAT).limits
