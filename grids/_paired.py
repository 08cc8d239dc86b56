"""Two runs compared song by song, where they were tested on the same songs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from grids._history import number

TEST_TRACKS = "test_tracks.json"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class TestTracks:
    """The test scores of one run.

    Attributes:
        split: of the data.
        fingerprint: of the test set's content.
        nsdr: dB, by song and source; None where a source is silent.
    """

    __test__ = False  # no test case, whatever pytest takes from the name

    split: str
    fingerprint: str
    nsdr: Mapping[str, Mapping[str, float | None]]

    def comparable(self, other: TestTracks) -> bool:
        """Whether both were tested on the same songs."""
        same = (self.split, self.fingerprint) == (other.split, other.fingerprint)
        return same and self.nsdr.keys() == other.nsdr.keys()


@dataclass(frozen=True)
class Difference:
    """Mean over songs of a difference in dB.

    Attributes:
        mean: dB; above 0: the run is better than what it is compared with.
        half_width: dB, of the 95 % interval (Student's t); None for a single song.
        songs: how many.
    """

    mean: float
    half_width: float | None
    songs: int


def read_test_tracks(folder: Path) -> TestTracks | None:
    """Return the test scores in a run's folder; None where it has none (that can be read)."""
    try:
        content: Any = json.loads((folder / TEST_TRACKS).read_text(encoding="utf-8"))
        nsdr = {
            str(track): {str(source): number(value) for source, value in scored["nsdr"].items()}
            for track, scored in content["tracks"].items()
        }
        return TestTracks(str(content["split"]), str(content["fingerprint"]), nsdr)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def paired_difference(run: TestTracks, reference: TestTracks) -> Difference | None:
    """Compare the songs' mean nSDR over the sources that both runs define.

    A song in which there is no such source is left out.

    Returns:
        None where the runs were not tested on the same songs, or have no source in common.
    """
    if not run.comparable(reference):
        return None
    differences = []
    for track, scored in run.nsdr.items():
        pairs = [
            (value, other)
            for source, value in scored.items()
            if value is not None and (other := reference.nsdr[track].get(source)) is not None
        ]
        if pairs:
            differences.append(fmean(value - other for value, other in pairs))
    if not differences:
        return None
    return Difference(fmean(differences), _half_width(differences), len(differences))


def _half_width(values: list[float]) -> float | None:
    """Return t(n - 1) s / sqrt(n), the half width of the interval of a mean."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # a second to import, for tables alone

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * stdev(values) / math.sqrt(len(values))
