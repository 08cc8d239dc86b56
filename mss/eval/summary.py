"""From the scores of songs to the numbers of a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mss.eval.evaluate import TrackResult
from mss.metrics.base import Measure, OverTracks

_OVER_TRACKS: dict[OverTracks, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
}


@dataclass(frozen=True)
class SourceScore:
    """One source (or the mean of all) under one measure.

    Attributes:
        score: over the songs in which it is defined; None where it is in none.
        do_nothing: that of the mixture at its best constant gain, over the same songs.
        tracks: songs in which the score is defined.
        undefined: songs in which it is not: a silent reference, or (framewise) no frame in which
            no source is silent.
    """

    score: float | None
    do_nothing: float | None
    tracks: int
    undefined: int

    @property
    def difference(self) -> float | None:
        """What separating has gained over doing nothing."""
        if self.score is None or self.do_nothing is None:
            return None
        return self.score - self.do_nothing


@dataclass(frozen=True)
class MeasureSummary:
    """All sources under one measure.

    Attributes:
        measure: what the numbers say.
        sources: by source.
        mean: over the sources that have a score; its `tracks` are those of the source with fewest.
    """

    measure: Measure
    sources: Mapping[str, SourceScore]
    mean: SourceScore


@dataclass(frozen=True)
class SilenceSummary:
    """What is silent in one source.

    Attributes:
        tracks: songs whose reference is silent throughout.
        leaking_tracks: songs with at least one silent frame.
        leakage: mean over those of the leakage in dB; None without any.
    """

    tracks: int
    leaking_tracks: int
    leakage: float | None


@dataclass(frozen=True)
class Summary:
    """All the numbers of an evaluation."""

    measures: tuple[MeasureSummary, ...]
    silence: Mapping[str, SilenceSummary]
    tracks: int


def summarise(
    results: Sequence[TrackResult], measures: Iterable[Measure], sources: Sequence[str]
) -> Summary:
    """Aggregate over songs as each measure says, then average over the sources."""
    return Summary(
        measures=tuple(_summarise_measure(results, measure, sources) for measure in measures),
        silence={source: _summarise_silence(results, source) for source in sources},
        tracks=len(results),
    )


def _summarise_measure(
    results: Sequence[TrackResult], measure: Measure, sources: Sequence[str]
) -> MeasureSummary:
    over_tracks = _OVER_TRACKS[measure.over_tracks]
    rows: dict[str, SourceScore] = {}
    for source in sources:
        scored = [
            (result.scores[measure.name][source], result.do_nothing[measure.name][source])
            for result in results
            if not math.isnan(result.scores[measure.name][source])
        ]
        baseline = [value for _, value in scored if not math.isnan(value)]
        rows[source] = SourceScore(
            score=over_tracks([score for score, _ in scored]) if scored else None,
            do_nothing=over_tracks(baseline) if baseline else None,
            tracks=len(scored),
            undefined=len(results) - len(scored),
        )
    mean = SourceScore(
        score=_mean_of_known([row.score for row in rows.values()]),
        do_nothing=_mean_of_known([row.do_nothing for row in rows.values()]),
        tracks=min(row.tracks for row in rows.values()),
        undefined=max(row.undefined for row in rows.values()),
    )
    return MeasureSummary(measure, rows, mean)


def _summarise_silence(results: Sequence[TrackResult], source: str) -> SilenceSummary:
    silences = [result.silence[source] for result in results]
    levels = [silence.leakage for silence in silences if silence.frames]
    return SilenceSummary(
        tracks=sum(silence.whole for silence in silences),
        leaking_tracks=len(levels),
        leakage=statistics.fmean(levels) if levels else None,
    )


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
