"""Labelled segments whose scores are made up, so that what a protocol should find is known."""

from collections.abc import Callable

import numpy as np
import pytest

from mss.distill.quality.scores import AGREEMENT, ENERGY
from mss.distill.quality.table import SegmentTable

SOURCES = ("drums", "vocals")


@pytest.fixture(scope="session")
def make_table() -> Callable[..., SegmentTable]:
    """Return the maker of tables: songs x 6 segments x 2 sources."""

    def make(songs: int = 20, noise: float = 2.0, seed: int = 0) -> SegmentTable:
        """The true SDR has a part of the song's, of the source's and of the segment's own.

        The level knows some of it (rho about 0.4); AGREEMENT is the SDR plus `noise` dB.
        """
        rng = np.random.default_rng(seed)
        segments = 6
        tracks = np.repeat([f"song {index:02d}" for index in range(songs)], segments * 2)
        sources = np.tile(SOURCES, songs * segments)
        count = len(tracks)
        sdr = 3 * rng.standard_normal(count) + np.where(sources == "vocals", 2.0, 0.0)
        sdr += np.repeat(2 * rng.standard_normal(songs), segments * 2)
        level = sdr + 8 * rng.standard_normal(count)
        return SegmentTable(
            tracks=tracks,
            sources=sources,
            starts=np.tile(np.repeat(np.arange(segments) * 6.0, 2), songs),
            sdr=sdr,
            scores={AGREEMENT: sdr + noise * rng.standard_normal(count), ENERGY: level},
        )

    return make
