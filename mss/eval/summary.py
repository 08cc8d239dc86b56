"""From the scores of songs to the numbers of a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mss.eval.evaluate import FrameCount, TrackResult
from mss.metrics.base import Measure, OverTracks


def _mean_of(values: Sequence[float]) -> float:
    """Return the mean; NaN where infinities of both signs meet (fmean would raise)."""
    finite = all(map(math.isfinite, values))
    return statistics.fmean(values) if finite else sum(values) / len(values)


_OVER_TRACKS: dict[OverTracks, Callable[[Sequence[float]], float]] = {
    "mean": _mean_of,
    "median": statistics.median,
}


@dataclass(frozen=True)
class SourceScore:
    """One source under one measure.

    Attributes:
        score: over the songs in which it is defined; None where it is in none.
        do_nothing: that of the mixture at its best constant gain, over the same songs; None where
            the measure has no such bar.
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
        return _difference(self.score, self.do_nothing)


@dataclass(frozen=True)
class MeanScore:
    """The mean of the sources under one measure.

    Attributes:
        score: None where no source has one.
        do_nothing: that of the mixture, over the same sources.
        sources: how many have a score and so count.
    """

    score: float | None
    do_nothing: float | None
    sources: int

    @property
    def difference(self) -> float | None:
        """What separating has gained over doing nothing."""
        return _difference(self.score, self.do_nothing)


@dataclass(frozen=True)
class MeasureSummary:
    """All sources under one measure.

    Attributes:
        measure: what the numbers say.
        sources: by source.
        mean: of the sources that have a score.
        frames: of all songs together, where the measure is a framewise one.
    """

    measure: Measure
    sources: Mapping[str, SourceScore]
    mean: MeanScore
    frames: FrameCount | None = None


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
    """All the numbers of an evaluation.

    Attributes:
        measures: the scores.
        silence: by source.
        tracks: songs.
        remarks: (song, sentence) on how far its scores can be trusted.
    """

    measures: tuple[MeasureSummary, ...]
    silence: Mapping[str, SilenceSummary]
    tracks: int
    remarks: tuple[tuple[str, str], ...] = ()


def summarise(
    results: Sequence[TrackResult], measures: Iterable[Measure], sources: Sequence[str]
) -> Summary:
    """Aggregate over songs as each measure says, then average over the sources."""
    return Summary(
        measures=tuple(_summarise_measure(results, measure, sources) for measure in measures),
        silence={source: _summarise_silence(results, source) for source in sources},
        tracks=len(results),
        remarks=tuple((result.track, text) for result in results for text in result.remarks),
    )


def over_songs(measure: Measure, scores: Iterable[float]) -> float | None:
    """Return the songs' scores as one number, without those not defined; None without any."""
    defined = [score for score in scores if not math.isnan(score)]
    return _OVER_TRACKS[measure.over_tracks](defined) if defined else None


def _summarise_measure(
    results: Sequence[TrackResult], measure: Measure, sources: Sequence[str]
) -> MeasureSummary:
    rows: dict[str, SourceScore] = {}
    for source in sources:
        scored = [
            result for result in results if not math.isnan(result.scores[measure.name][source])
        ]
        scores = [result.scores[measure.name][source] for result in scored]
        baseline = [_baseline(result, measure, source) for result in scored]
        rows[source] = SourceScore(
            score=over_songs(measure, scores),
            do_nothing=over_songs(measure, baseline),
            tracks=len(scored),
            undefined=len(results) - len(scored),
        )
    counts = [result.frames[measure.name] for result in results if measure.name in result.frames]
    frames = FrameCount(sum(c.used for c in counts), sum(c.total for c in counts))
    return MeasureSummary(measure, rows, _mean([*rows.values()]), frames if counts else None)


def _baseline(result: TrackResult, measure: Measure, source: str) -> float:
    """Return what doing nothing scores; NaN where that is no bar or not defined."""
    return result.do_nothing.get(measure.name, {}).get(source, math.nan)


def _summarise_silence(results: Sequence[TrackResult], source: str) -> SilenceSummary:
    silences = [result.silence[source] for result in results]
    levels = [silence.leakage for silence in silences if silence.frames]
    return SilenceSummary(
        tracks=sum(silence.whole for silence in silences),
        leaking_tracks=len(levels),
        leakage=statistics.fmean(levels) if levels else None,
    )


def _difference(score: float | None, do_nothing: float | None) -> float | None:
    return None if score is None or do_nothing is None else score - do_nothing


def _mean(rows: Sequence[SourceScore]) -> MeanScore:
    scored = [row for row in rows if row.score is not None]
    return MeanScore(
        score=_mean_of_all([row.score for row in scored]),
        do_nothing=_mean_of_all([row.do_nothing for row in scored]),
        sources=len(scored),
    )


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is missing, so that two means have the same members."""
    known = [value for value in values if value is not None]
    return _mean_of(known) if known and len(known) == len(values) else None
