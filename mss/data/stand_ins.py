"""Stems of other songs, in place of those that are not what their names say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mss.core.errors import DataError
from mss.core.types import Normalise
from mss.data.end_to_end import EndToEnd
from mss.data.tracks import IndexedTrack


class StandIns:
    """Exchanges the wrong stems of an excerpt for the same sources of songs where they are right.

    A wrong stem can't just count nothing: it would still sound in the mix, as what it really is,
    and the right stem of that source would be taught to be silent there (all the more where stems
    of several songs are mixed). So each source is drawn from the songs that are right about it, as
    a data set of single stems would be; every second of them is equally likely.

    Args:
        tracks: the songs, of the same stems.
        wrong: the stems that are not what their names say, by song; songs without any are not
            named.

    Raises:
        DataError: of a stem there is no right one.
    """

    def __init__(self, tracks: Sequence[IndexedTrack], wrong: Mapping[str, frozenset[str]]) -> None:
        self._tracks = tracks
        self._wrong = wrong
        self._right: dict[str, EndToEnd] = {}
        for stem in tracks[0].stems if tracks else ():
            right = EndToEnd.of(tracks, partial(self._is_right, stem))
            if not len(right.indices):
                raise DataError(
                    f"dset.manifest: of {stem} no song has a stem that is right; make one with a "
                    "lower margin (tools.filter_noise), or leave the stem out (dset.stems)"
                )
            self._right[stem] = right

    def wrong(self, track: IndexedTrack) -> frozenset[str]:
        """Return the stems of a song that are not what their names say."""
        return self._wrong.get(track.name, frozenset())

    def _is_right(self, stem: str, track: IndexedTrack) -> bool:
        return stem not in self.wrong(track)

    def __call__(
        self,
        track: IndexedTrack,
        stems: Tensor,
        normalise: Normalise,
        generator: np.random.Generator,
    ) -> Tensor:
        """Return an excerpt [K, C, T] of a song with its wrong stems exchanged.

        Args:
            track: the song.
            stems: [K, C, T] of it, normalised.
            normalise: how; each stem by its own song.
            generator: of the excerpt.
        """
        wrong = self.wrong(track)
        if not wrong:
            return stems
        stems, total = stems.clone(), stems.shape[-1]
        for index, stem in enumerate(track.stems):
            if stem not in wrong:
                continue
            other = self._tracks[self._right[stem].at(generator.random())]
            frames = min(total, other.length)
            start = int(generator.integers(other.length - frames, endpoint=True))
            found = other.normalisation(normalise).apply(other.read(stem, start, frames))
            stems[index] = F.pad(found, (0, total - frames))
        return stems
