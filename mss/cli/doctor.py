"""`stemgrid doctor`: what is installed and missing, and how fast this machine is.

With --json, one object: "ok" (bool), "checks" (each name, state, fact, remedy, needed) and "speeds"
(each model, device, backend, precision, threads, batch_size, speed, memory_bytes, chosen, error).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mss.cli.models import add_repo_argument, format_table
from mss.core.errors import StemgridError

if TYPE_CHECKING:
    from mss.api.checks import Check
    from mss.api.speeds import Speed

SUMMARY = "say what is installed, what is missing, and how fast this machine is"

_COLUMNS = (
    *("", "MODEL", "DEVICE", "BACKEND", "PRECISION", "THREADS", "BATCH", "X REAL TIME"),
    "PEAK MEMORY",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    add_repo_argument(parser)
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("separated"),
        metavar="FOLDER",
        help="where stems will go (default: %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="where to try the models: cpu, cuda, ... (default: auto)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--speed",
        action="store_const",
        const="all",
        default="default",
        help="try every model by every runtime that is installed, which takes minutes (default: "
        "the default model, a few chunks of noise)",
    )
    how.add_argument(
        "--no-speed", action="store_const", const=None, dest="speed", help="try no model"
    )
    parser.add_argument("--json", action="store_true", help="tell all of it as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Tell what is found; return 1 where something that separation needs is broken."""
    from mss.api.doctor import all_is_well, examine

    checks: list[Check] = []
    for check in examine(arguments.repo, arguments.out):
        checks.append(check)
        if not arguments.json:
            print(format_check(check), flush=True)
    well = all_is_well(checks)
    speeds: list[Speed] = []
    models = any(check.name == "models" and check.state == "ok" for check in checks)
    if arguments.speed is not None and well and models:
        speeds = _try_models(arguments)
        well = all(speed.error is None for speed in speeds if speed.backend == "torch")
    if arguments.json:
        told = {
            "ok": well,
            "checks": [asdict(check) for check in checks],
            "speeds": [asdict(speed) for speed in speeds],
        }
        print(json.dumps(told, indent=2, allow_nan=False))
    elif speeds:
        print(f"\n{format_speeds(speeds)}")
    return 0 if well else 1


def _try_models(arguments: argparse.Namespace) -> list[Speed]:
    from mss.api.speeds import Speed, model_speeds

    which = "every model" if arguments.speed == "all" else "the default model"
    print(f"trying {which} ...", file=sys.stderr, flush=True)
    try:
        return list(model_speeds(arguments.repo, arguments.speed, arguments.device))
    except StemgridError as error:
        return [Speed("", arguments.device, "torch", error=str(error))]


def format_check(check: Check) -> str:
    """Return a check as a line, and its remedy as another."""
    line = f"{check.state:<9}{check.name:<15}{check.fact}"
    return f"{line}\n{'':24}-> {check.remedy}" if check.remedy else line


def format_speeds(speeds: Sequence[Speed]) -> str:
    """Return a table of the speeds, what would be chosen marked by a star, and what went wrong."""
    rows: list[Sequence[str]] = [_COLUMNS]
    for speed in speeds:
        if speed.speed is None:
            continue
        memory = speed.memory_bytes
        rows.append(
            (
                "*" if speed.chosen else "",
                speed.model,
                speed.device,
                speed.backend,
                speed.precision,
                str(speed.threads),
                str(speed.batch_size),
                f"{speed.speed:.2f}",
                "" if memory is None else f"{memory / 2**30:.1f} GiB",
            )
        )
    told = [format_table(rows), "* is what `stemgrid separate` takes"] if len(rows) > 1 else []
    faults = [f"{speed.model} by {speed.backend}: {speed.error}" for speed in speeds if speed.error]
    return "\n".join([*told, *faults])
