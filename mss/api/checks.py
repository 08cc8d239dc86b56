"""What a check of the machine says, and how one is made so that its failure is an answer, too."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "wrong"]

IMPORT_SECONDS = 60.0
"""How long an import may take in a process of its own; torch's takes 20 s on a loaded machine."""
PROGRAM_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One line of what the doctor says.

    Attributes:
        name: of what was looked at.
        state: "ok"; "missing": not there; "wrong": there, and does not work.
        fact: what was found.
        remedy: what to do, or why nothing need be done; empty where all is well.
        needed: nothing can be separated without.
    """

    name: str
    state: State
    fact: str
    remedy: str = ""
    needed: bool = False


Checker = Callable[[], list[Check]]


def alone(name: str, checker: Checker, needed: bool = False) -> list[Check]:
    """Return what a check says; where it fails itself, that as a check.

    A broken package may raise anything at all when it is imported, and the other checks are wanted
    then more than ever.
    """
    try:
        return checker()
    except Exception as error:
        return [Check(name, "wrong", fault_of(error), "repair or reinstall what is named", needed)]


def fault_of(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution; None: it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without what a build adds.

    >>> version_numbers("2.13.0+cpu"), version_numbers("2.6.0rc1")
    ((2, 13, 0), (2, 6, 0))
    """
    numbers: list[int] = []
    for part in version.partition("+")[0].split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
    return tuple(numbers)


def import_fault(module: str, seconds: float = IMPORT_SECONDS) -> str | None:
    """Import a module in a process of its own; return what went wrong, None: nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:g} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


def program_output(command: Sequence[str]) -> str | None:
    """Run a program and return what it prints; None: it is not on the PATH.

    Raises:
        OSError: it can't be run.
        RuntimeError: it fails, or does not end within 10 s.
    """
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]}: no answer within {PROGRAM_SECONDS:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RuntimeError(f"{command[0]}: {last}")
    return done.stdout
