"""The start of a run from the weights of another (`continue_from`, `continue_opt`)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.core.separator import Separator
from mss.solver.optim import Adam
from mss.solver.transfer import take_weights
from mss.trained import StartingPoint, starting_point

logger = logging.getLogger(__name__)


def continue_from(model: Separator, name: Any, with_optim: Any, runs: Path) -> StartingPoint | None:
    """Give a model the weights of another, where the configuration names one.

    Args:
        model: takes what fits it by name and shape.
        name: the value of `continue_from`: a run's signature, a released model's name, or None.
        with_optim: the value of `continue_opt`: the optimiser's state is to be taken as well.
        runs: folder of all runs.

    Raises:
        ConfigError: there is no such model, or it does not fit.
    """
    if type(with_optim) is not bool:
        raise ConfigError(f"continue_opt: {with_optim!r} is neither true nor false")
    if name is None:
        if with_optim:
            raise ConfigError("continue_opt: there is no run to take it from; give continue_from")
        return None
    if isinstance(name, float):
        raise ConfigError(
            f"continue_from: {name} was read as a number; quote it: continue_from='\"SIG\"'"
        )
    start = starting_point(str(name), with_optim, runs)
    if len(set(distrib.gather(start.origin))) > 1:
        raise ConfigError(
            f"continue_from: {name} is being trained while this run starts from it; wait for it"
        )
    own = model.spec.sources
    if sorted(start.sources) == sorted(own) and start.sources != own:
        raise ConfigError(
            f"continue_from: {start.origin} has the sources {', '.join(start.sources)}, this run "
            f"{', '.join(own)}: the same in another order, so each would start as another; "
            "name them in that order by a choice of targets"
        )
    if start.sources != own:
        logger.warning(
            "continue_from: %s has the sources %s, this run %s: what belongs to one source alone "
            "is taken by its position",
            start.origin,
            ", ".join(start.sources),
            ", ".join(own),
        )
    transfer = take_weights(model, start.state, start.origin)
    if with_optim and not transfer.complete:
        raise ConfigError(
            f"continue_opt: {start.origin} is not of this very model, so its optimiser's state "
            "does not fit; leave continue_opt out"
        )
    return start


def continue_optim(optim: Adam, start: StartingPoint | None) -> None:
    """Give an optimiser the state that the weights were taken with, if it was taken."""
    if start is None or start.optim is None:
        return
    try:
        optim.load_state_dict(start.optim)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"continue_opt: the optimiser's state of {start.origin} does not fit ({error}); "
            "leave continue_opt out"
        ) from error
