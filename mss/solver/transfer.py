"""Weights of another model as the start of a run (fine-tuning, continuing)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mss.core.errors import ConfigError

logger = logging.getLogger(__name__)

SHOWN = 8
"""Names of a list that a message shows."""


@dataclass(frozen=True)
class Transfer:
    """Which weights a model took from a state, by name.

    Attributes:
        taken: those of the same name and shape.
        reshaped: of another shape there (another number of sources, say), so left at their start.
        missing: not there, so left at their start.
        unused: there, and not in the model.
    """

    taken: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the model is the other one now."""
        return not (self.reshaped or self.missing or self.unused)


def take_weights(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> Transfer:
    """Load every weight of `state` that fits `model` by name and shape; tell of the rest.

    Args:
        model: takes them.
        state: of another model.
        origin: its name, for messages.

    Raises:
        ConfigError: nothing fits.
    """
    own = model.state_dict()
    common = [name for name in own if name in state]
    transfer = Transfer(
        taken=tuple(name for name in common if own[name].shape == state[name].shape),
        reshaped=tuple(name for name in common if own[name].shape != state[name].shape),
        missing=tuple(name for name in own if name not in state),
        unused=tuple(name for name in state if name not in own),
    )
    if not transfer.taken:
        raise ConfigError(
            f"continue_from: {origin} has no weight that fits this model; it is of another "
            "architecture or size: give model= as it was trained"
        )
    model.load_state_dict({name: state[name] for name in transfer.taken}, strict=False)
    logger.info("%d of %d weights are those of %s", len(transfer.taken), len(own), origin)
    for what, names in (
        ("have another shape there and start anew", transfer.reshaped),
        ("are not there and start anew", transfer.missing),
        ("are there and not needed", transfer.unused),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            logger.warning("%d weights %s: %s%s", len(names), what, ", ".join(names[:SHOWN]), more)
    return transfer
