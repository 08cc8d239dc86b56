"""Which backend is taken, by what is installed."""

import sys
from pathlib import Path

import pytest

from mss.core import stretch_choice
from mss.core.errors import ConfigError
from mss.core.stretch_choice import choose_stretcher
from mss.core.stretch_program import SoundstretchProgram
from mss.core.stretch_signalsmith import SignalsmithStretcher


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds nothing yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def installed(programs: Path) -> Path:
    """A program soundstretch on it."""
    path = programs / "soundstretch"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where python-stretch was never installed."""
    monkeypatch.setattr(stretch_choice, "find_spec", {"torch": 1}.get)


def test_auto_takes_the_program_where_there_is_one(installed: Path) -> None:
    found = choose_stretcher("auto", "key")
    assert isinstance(found, SoundstretchProgram)
    assert found.path == str(installed)
    assert isinstance(choose_stretcher("python-stretch", "key"), SignalsmithStretcher)


def test_auto_takes_the_package_where_there_is_no_program(programs: Path) -> None:
    assert isinstance(choose_stretcher("auto", "key"), SignalsmithStretcher)


@pytest.mark.usefixtures("programs", "no_package")
def test_where_there_is_nothing_both_remedies_are_told() -> None:
    message = r"key: .*soundstretch is not on the PATH.*apt install.*pip install python-stretch"
    with pytest.raises(ConfigError, match=message):
        choose_stretcher("auto", "key")


@pytest.mark.usefixtures("programs")
def test_a_program_that_is_asked_for_has_no_substitute() -> None:
    with pytest.raises(ConfigError, match=r"key: the program soundstretch is not on the PATH") as e:
        choose_stretcher("soundstretch", "key")
    assert "python-stretch" not in str(e.value)


@pytest.mark.usefixtures("installed", "no_package")
def test_a_package_that_is_asked_for_has_no_substitute() -> None:
    with pytest.raises(ConfigError, match="key: python-stretch is not installed: pip install"):
        choose_stretcher("python-stretch", "key")


@pytest.mark.usefixtures("programs")
def test_a_package_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretch_choice, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(ConfigError, match="python-stretch can't be imported"):
        choose_stretcher("auto", "key")
