"""Puts aside what steps have made, so that they are run again and nothing is overwritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from mss.core.errors import ConfigError
from tools.pipeline_folder import Claim
from tools.pipeline_plan import Plan, PlannedStep
from tools.run_facts import is_claimed

REPLACED = "replaced"


def put_aside(plan: Plan, names: Sequence[str]) -> list[Path]:
    """Move what these steps made out of the way; return where it lies now.

    A training step's run goes with it, whoever trained it. Released files stay where they are:
    they are named by their content, and the newest of a run is the one that is meant.

    Raises:
        ConfigError: one of the steps is being run.
    """
    started = [plan.steps[name] for name in names if _traces(plan.steps[name])]
    moved = []
    with ExitStack() as claims:
        for planned in started:
            _require_idle(planned, claims)
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        for planned in started:
            for folder in _traces(planned):
                there = _free(plan.root / REPLACED / f"{now}-{folder.name}")
                there.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, there)
                moved.append(there)
    return moved


def _traces(planned: PlannedStep) -> list[Path]:
    """Return the folders of a step that are there; what says that it is done comes first."""
    folders = [planned.folder.path, *([planned.path] if planned.xp is not None else [])]
    return [folder for folder in folders if folder.is_dir()]


def _require_idle(planned: PlannedStep, claims: ExitStack) -> None:
    busy = planned.xp is not None and is_claimed(planned.path)
    if planned.folder.path.is_dir():
        busy = not claims.enter_context(Claim(planned.folder)).take() or busy
    if busy:
        raise ConfigError(
            f"--from: {planned.step.name} ({planned.id}) is being run by another process; wait for "
            "its end or stop it"
        )


def _free(path: Path) -> Path:
    """Return the path, or the first one like it that is not taken."""
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name}-{number}")
    return path
