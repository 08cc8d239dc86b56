"""What is compared: our way and a peer's to do one thing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Side = Callable[[dict[str, Any]], Callable[[], float]]
"""options -> a function that does the work once and returns how much of it was done."""


@dataclass(frozen=True)
class Pair:
    """Ours and a peer's way to do one thing.

    Attributes:
        name: of the comparison.
        unit: of what the functions return, such as "updates".
        ours: prepares our side.
        peer: prepares the peer's.
        peer_name: and version.
        peer_once: the peer takes minutes: one turn, which several pairs share.
    """

    name: str
    unit: str
    ours: Side
    peer: Side
    peer_name: str
    peer_once: bool = False
