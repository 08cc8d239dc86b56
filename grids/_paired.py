"""Two runs compared song by song, where they were tested on the same songs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from grids._history import number
from mss.eval.run_tests import TEST_TRACKS
from mss.eval.statistics import PairedStatistics, paired_statistics
from mss.metrics.energy import NSDR


@dataclass(frozen=True)
class TestTracks:
    """The test scores of one run.

    Attributes:
        split: of the data.
        references: what they were compared with: content of the songs, stems of each source,
            sample rate and channels.
        nsdr: dB, by song and source; None where a source is silent.
    """

    __test__ = False  # no test case, whatever pytest takes from the name

    split: str
    references: tuple[Any, ...]
    nsdr: Mapping[str, Mapping[str, float | None]]

    def comparable(self, other: TestTracks) -> bool:
        """Whether both were tested on the same songs."""
        same = (self.split, self.references) == (other.split, other.references)
        return same and self.nsdr.keys() == other.nsdr.keys()


def read_test_tracks(folder: Path) -> TestTracks | None:
    """Return the test scores in a run's folder; None where it has none (that can be read)."""
    try:
        content: Any = json.loads((folder / TEST_TRACKS).read_text(encoding="utf-8"))
        nsdr = {
            str(track): {str(source): number(value) for source, value in scored["nsdr"].items()}
            for track, scored in content["tracks"].items()
        }
        heard = (content.get(key) for key in ("targets", "samplerate", "channels"))
        return TestTracks(str(content["split"]), (str(content["fingerprint"]), *heard), nsdr)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def compare_runs(run: TestTracks, reference: TestTracks) -> PairedStatistics | None:
    """Compare the songs' mean nSDR over the sources that both runs define.

    A song in which there is no such source is left out.

    Returns:
        None where the runs were not tested on the same songs, or have no source in common.
    """
    if not run.comparable(reference):
        return None
    means: list[tuple[float, float]] = []  # of each song
    for track, scored in run.nsdr.items():
        pairs = [
            (value, other)
            for source, value in scored.items()
            if value is not None and (other := reference.nsdr[track].get(source)) is not None
        ]
        if pairs:
            values, others = zip(*pairs, strict=True)
            means.append((fmean(values), fmean(others)))
    if not means:
        return None
    values, others = zip(*means, strict=True)
    return paired_statistics(values, others, NSDR().higher_is_better)
