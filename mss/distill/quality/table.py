"""Segments of labelled songs: their scores, and the SDR that the scores are to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mss.distill.quality.scorer import ScoredSegment
from mss.metrics.energy import NSDR, energy

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

SILENT_DB = -60.0
"""A source that is softer than this beside the mixture of a segment has no SDR in it."""


@dataclass(frozen=True)
class Row:
    """One source in one segment of one song.

    Attributes:
        track: name of the song.
        source: name.
        start: of the segment, seconds.
        sdr: true SDR, dB.
        scores: {score: value}; NaN where it is not defined.
    """

    track: str
    source: str
    start: float
    sdr: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class SegmentTable:
    """Rows as columns.

    Attributes:
        tracks: [n], names.
        sources: [n], names.
        starts: [n], seconds.
        sdr: [n], true SDR in dB, all finite.
        scores: {score: [n]}; NaN where it is not defined.
    """

    tracks: Names
    sources: Names
    starts: Floats
    sdr: Floats
    scores: Mapping[str, Floats]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> SegmentTable:
        """Return the table of rows, all with the same scores."""
        listed = list(rows)
        names = list(listed[0].scores) if listed else []
        return cls(
            tracks=np.array([row.track for row in listed], dtype=np.str_),
            sources=np.array([row.source for row in listed], dtype=np.str_),
            starts=np.array([row.start for row in listed], dtype=np.float64),
            sdr=np.array([row.sdr for row in listed], dtype=np.float64),
            scores={
                name: np.array([row.scores[name] for row in listed], dtype=np.float64)
                for name in names
            },
        )

    def __len__(self) -> int:
        return len(self.sdr)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> SegmentTable:
        """Return the rows that an index or a mask names."""
        return SegmentTable(
            self.tracks[rows],
            self.sources[rows],
            self.starts[rows],
            self.sdr[rows],
            {name: values[rows] for name, values in self.scores.items()},
        )

    def with_score(self, name: str, values: Floats) -> SegmentTable:
        """Return the table with one more score [n]."""
        return SegmentTable(
            self.tracks, self.sources, self.starts, self.sdr, {**self.scores, name: values}
        )


def true_rows(
    track: str,
    segment: ScoredSegment,
    references: Mapping[str, Tensor],
    mix: Tensor,
    samplerate: int,
) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows of a scored segment, and the sources that are silent in it.

    The true SDR is nSDR of the segment (mss.metrics.energy). A source below SILENT_DB has none that
    means anything: it is left out, to be counted.

    Args:
        track: name of the song.
        segment: as scored.
        references: {source: [C, T]} of the sources that are known, all of them the segment's.
        mix: [C, T].
        samplerate: Hz.
    """
    floor = energy(mix) * 10 ** (SILENT_DB / 10)
    nsdr, scores = NSDR(), segment.scores
    rows, silent = [], []
    for source, reference in references.items():
        if not bool(energy(reference) > floor):
            silent.append(source)
            continue
        estimate = segment.estimates[segment.sources.index(source)]
        sdr = nsdr(reference[None], estimate[None], samplerate).item()
        own = {name: by_source[source] for name, by_source in scores.items()}
        rows.append(Row(track, source, segment.start / samplerate, sdr, own))
    return rows, tuple(silent)


def unique_in_order(names: Sequence[str] | Names) -> list[str]:
    """Return each name once, in the order of first appearance."""
    return list(dict.fromkeys(map(str, names)))
