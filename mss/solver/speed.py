"""How fast and in how much memory an update is computed; none of it is part of a signature."""

from __future__ import annotations

from dataclasses import dataclass

from mss.core.errors import ConfigError

AUTO = 0
"""Number of parts: as few as fit into the memory."""


@dataclass(frozen=True)
class Speed:
    """How the update is computed; none of it changes the result but by rounding.

    Attributes:
        accumulate: parts that a rank's share of a batch is computed in; `AUTO`: as many as the
            first batch needs to fit into the memory.
        compile: compile the network with `torch.compile`.
    """

    accumulate: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        if self.accumulate < 0:
            raise ConfigError(
                f"misc.accumulate: {self.accumulate} parts; give 1 or more, or 0 to find out"
            )
