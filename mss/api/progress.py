"""How far a separation is, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

ProgressFn = Callable[[float, float | None], None]
"""Told the share that is done, in [0, 1], and the seconds left (None until they can be told).

What it raises ends the separation; no file is left then.
"""


def with_time_left(progress: ProgressFn) -> Callable[[float], None]:
    """Return a function of the share alone that adds the time left, as the time so far has it."""
    start = time.monotonic()

    def tell(share: float) -> None:
        passed = time.monotonic() - start
        progress(share, passed * (1 - share) / share if share > 0 else None)

    return tell
