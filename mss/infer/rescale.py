"""One gain for all stems of a song, where any of them is beyond full scale."""

from __future__ import annotations

from typing import Literal

Rescale = Literal["none", "shared"]
"""none: levels are never changed. shared: one gain for all stems, where one would clip."""

_FULL_SCALE = 1 - 2**-15
"""The largest sample that 16 bits hold; 24 bits and floats hold it, too."""


def shared_gain(peak: float) -> float:
    """Return what brings the largest magnitude of all stems to full scale; 1.0 where none clips.

    >>> shared_gain(0.5), shared_gain(2.0)
    (1.0, 0.4999847412109375)
    """
    return _FULL_SCALE / peak if peak > 1 else 1.0
