"""Whether a checkpoint belongs to the run that takes it up.

Values may change over a resume (`misc.accept_changes`); what the state was made for may not: the
weights' shapes, which averages are kept, the kind of schedule, the chain of target providers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from torch import Tensor

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.distill.base import TargetChain, TargetProvider
from mss.solver.ema import Ema
from mss.solver.optim import Adam
from mss.solver.schedule import Schedule

logger = logging.getLogger(__name__)

REMEDY = "These keys can't change in a running run: restore them, or start a new run"

CONTENT: dict[str, type | tuple[type, ...]] = {
    "model": dict,
    "optim": dict,
    "schedule": dict,
    "ema": dict,
    "targets": dict,
    "precision": dict,
    "rng": list,
    "epoch": int,
    "step": int,
    "running": dict,
    "clock": dict,
    "trained": (dict, NoneType),
    "history": list,
    "best": (dict, NoneType),
    "tested": bool,
}
"""What a checkpoint of a run holds, and of which type."""


def check_fits(
    path: Path,
    state: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    optim: Adam,
    schedule: Schedule,
    ema: Ema,
    targets: TargetProvider,
) -> None:
    """Make sure that a checkpoint's state is one of the run's parts.

    Args:
        path: of the checkpoint, for the message.
        state: of the checkpoint, with everything in `CONTENT`.
        weights: state of the run's model.
        optim, schedule, ema, targets: of the run.

    Raises:
        ConfigError: it is not; every key that does not fit is named.
    """
    problems: list[str] = []

    def compare(key: str, then: object, now: object) -> None:
        if then != now:
            problems.append(f"{key}: {then!r} in the checkpoint, now {now!r}")

    with fitting(path):
        problems += _differences("model", state["model"], weights)
        # an optimiser's state goes by the position of a parameter
        compare(
            "optim (number of trained parameters)",
            sum(len(group["params"]) for group in state["optim"]["param_groups"]),
            len(optim.parameters),
        )
        compare("schedule.name", state["schedule"].get("kind"), schedule.kind)
        compare("ema (averages)", sorted(state["ema"]), sorted(ema.models))
        if isinstance(targets, TargetChain):
            compare("distill (target providers)", list(state["targets"]), list(targets.links))
    if problems:
        raise ConfigError(_message(path, "\n".join(f"  {problem}" for problem in problems)))


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn the errors of a state that a part can't take into one that says what to do.

    Raises:
        ConfigError: the part could not take its state.
    """
    try:
        yield
    except (
        AssertionError,
        AttributeError,
        IndexError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(_message(path, f"  {type(error).__name__}: {error}")) from error


def _message(path: Path, problems: str) -> str:
    return f"{path}: this checkpoint does not fit the run:\n{problems}\n{REMEDY}"


def _differences(key: str, then: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> list[str]:
    """Return a line for each of the first few weights that differ in presence or shape."""
    lines = []
    for name in dict.fromkeys([*then, *now]):
        if name not in now:
            lines.append(f"{key}: {name} is in the checkpoint only")
        elif name not in then:
            lines.append(f"{key}: {name} is not in the checkpoint")
        elif then[name].shape != now[name].shape:
            shapes = f"{list(then[name].shape)} in the checkpoint, now {list(now[name].shape)}"
            lines.append(f"{key}: {name} is {shapes}")
    shown = 5
    if len(lines) > shown:
        lines[shown:] = [f"{key}: and {len(lines) - shown} weights more"]
    return lines


def own_rng_state(states: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return this rank's generators of a checkpoint, None for a rank that it does not know.

    A run that goes on with another number of ranks draws other dropout masks from here on.
    """
    if len(states) != distrib.world_size():
        logger.info("%d ranks go on with a run of %d", distrib.world_size(), len(states))
    return states[distrib.rank()] if distrib.rank() < len(states) else None
