"""Songs laid end to end, so that every second of music is as likely as any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mss.data.tracks import IndexedTrack


@dataclass(frozen=True)
class EndToEnd:
    """Some songs of a set, one behind the other.

    Attributes:
        indices: of the songs in the set.
        ends: the i-th of them spans [ends[i - 1], ends[i]) samples.
    """

    indices: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, tracks: Sequence[IndexedTrack], chosen: Callable[[IndexedTrack], bool] | None = None
    ) -> EndToEnd:
        """Return the songs that are chosen, or all; they may be none."""
        kept = [i for i, track in enumerate(tracks) if chosen is None or chosen(track)]
        lengths = [tracks[i].length for i in kept]
        return cls(np.array(kept, dtype=np.int64), np.cumsum(lengths, dtype=np.int64))

    def at(self, share: float) -> int:
        """Return the song in which a share in [0, 1) of the whole duration lies."""
        place = int(np.searchsorted(self.ends, share * self.ends[-1], side="right"))
        # rounding may take the last position to the very end
        return int(self.indices[min(place, len(self.ends) - 1)])
