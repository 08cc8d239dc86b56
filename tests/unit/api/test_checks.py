"""How a check is made so that its failure is an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from mss.api import checks
from mss.api.checks import Check, alone, import_fault, installed_version, program_output
from mss.api.checks import version_numbers as numbers


def test_a_check_that_fails_says_so_itself() -> None:
    def broken() -> list[Check]:
        raise ImportError("libfoo.so: cannot open\nmore of it")

    [check] = alone("foo", broken, needed=True)
    assert (check.name, check.state, check.needed) == ("foo", "wrong", True)
    assert check.fact == "ImportError: libfoo.so: cannot open"
    assert alone("foo", lambda: [Check("foo", "ok", "1.0")]) == [Check("foo", "ok", "1.0")]
    with pytest.raises(KeyboardInterrupt):
        alone("foo", _interrupted)


def _interrupted() -> list[Check]:
    raise KeyboardInterrupt


def test_an_error_without_a_message() -> None:
    def broken() -> list[Check]:
        raise AssertionError

    assert alone("foo", broken)[0].fact == "AssertionError"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("", None),
        ("raise RuntimeError('made for another torch')", "made for another torch"),
        ("import os; os._exit(3)", "status 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import time; time.sleep(30)", "no answer within 0.5 s"),
    ],
)
def test_imports_are_tried_in_another_process(
    code: str, fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shaky.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = import_fault("shaky", seconds=0.5 if "sleep" in code else 30)
    if fault is None:
        assert found is None
    else:
        assert found is not None
        assert fault in found


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(checks, "PROGRAM_SECONDS", 0.5)
    program(tmp_path, "talks", "echo it is $1")
    program(tmp_path, "fails", "echo no controller >&2; exit 1")
    program(tmp_path, "hangs", "exec sleep 30")
    assert program_output(["talks", "here"]) == "it is here\n"
    assert program_output(["not-on-this-path"]) is None
    with pytest.raises(RuntimeError, match="fails: no controller"):
        program_output(["fails"])
    with pytest.raises(RuntimeError, match="hangs: no answer"):
        program_output(["hangs"])


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.13.0+cpu", (2, 13, 0)), ("2.6.0rc1", (2, 6, 0)), ("1.x", (1,)), ("", ())],
)
def test_versions(version: str, expected: tuple[int, ...]) -> None:
    assert numbers(version) == expected
    assert installed_version("no-such-distribution-at-all") is None
