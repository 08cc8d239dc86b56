"""Systems compared song by song, under the protocols that they share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.eval.candidates import (
    Candidate,
    Scores,
    ScoreTable,
    shared_sources,
    song_score,
)
from mss.eval.caveats import remark_notes, settings_note, unknown_data_note
from mss.eval.statistics import PairedStatistics, paired_statistics
from mss.metrics.base import Measure

ALL = "all"
"""The mean over a song's sources."""


@dataclass(frozen=True)
class Level:
    """The score of a configuration over the compared songs.

    Attributes:
        seeds: of each seed, the songs aggregated as the measure says; NaN where infinities of both
            signs meet.
    """

    seeds: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of the seeds."""
        with np.errstate(invalid="ignore"):
            return float(np.mean(self.seeds))

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the seeds; None for a single one, or with infinite scores."""
        if len(self.seeds) < 2 or not all(map(math.isfinite, self.seeds)):
            return None
        return statistics.stdev(self.seeds)


@dataclass(frozen=True)
class ComparisonRow:
    """One source of one system against the reference.

    Attributes:
        system: name of the configuration.
        source: its name, or ALL: the mean over the sources that both define in a song.
        reference: score of the reference.
        level: score of the system.
        statistics: of the songs' differences, each song's score being the mean of its seeds.
        left_out: songs that could not be compared: not scored, or not defined (a silent reference),
            in one of the results.
    """

    system: str
    source: str
    reference: Level
    level: Level
    statistics: PairedStatistics
    left_out: int

    @property
    def seed_deviation(self) -> float | None:
        """The larger of the two configurations' spreads; None where neither has several seeds."""
        known = [
            level.deviation for level in (self.reference, self.level) if level.deviation is not None
        ]
        return max(known, default=None)

    @property
    def within_seed_spread(self) -> bool:
        """Whether another seed alone changes the score by as much as the systems differ."""
        spread = self.seed_deviation
        return spread is not None and abs(self.level.score - self.reference.score) <= spread


@dataclass(frozen=True)
class MeasureComparison:
    """All systems under one protocol.

    Attributes:
        id: of the protocol.
        measure: what the scores say.
        rows: sources within systems; a system that was not scored by this protocol has none, and
            neither has a source that is nowhere defined.
    """

    id: str
    measure: Measure
    rows: tuple[ComparisonRow, ...]


@dataclass(frozen=True)
class Comparison:
    """Systems against a reference.

    Attributes:
        reference: its name.
        measures: in the order of the reference's results.
        left_out: in words, protocols by which not all were scored, or by which two systems have no
            song in common.
        notes: what qualifies the numbers: remarks on songs, how systems were run.
    """

    reference: str
    measures: tuple[MeasureComparison, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


def compare(
    reference: Candidate, others: Sequence[Candidate], measure: str | None = None
) -> Comparison:
    """Compare each of `others` with the reference, under every protocol that they share.

    Args:
        reference: what the others are compared with.
        others: the others.
        measure: the only measure to look at; None: all.

    Raises:
        ConfigError: two have the same name, one was scored by no protocol of the reference, or by
            none of that measure; the message says what differs.
        DataError: under no shared protocol is there a song that both define.
    """
    names = [candidate.name for candidate in (reference, *others)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: two systems have this name; give others, as in NEW=FOLDER")
    for candidate in (reference, *others):
        _check_seeds(candidate, measure)
    for other in others:
        if not set(reference.ids(measure)) & set(other.ids(measure)):
            raise ConfigError(
                f"{other.name} can't be compared with {reference.name}:"
                f" {_what_differs(reference.seeds[0], other.seeds[0], measure)}. Score both with"
                " the same dset=..., targets=... and test=..."
            )
    shared = [
        id for id in reference.ids(measure) if any(id in other.ids(measure) for other in others)
    ]
    left_out = {
        f"{id} (not of {candidate.name})": None
        for id in dict.fromkeys(id for c in (reference, *others) for id in c.ids(measure))
        for candidate in (reference, *others)
        if id not in candidate.ids(measure)
    }
    compared = [_compare_measure(id, reference, others) for id in shared]
    for of_measure, other in ((of, other) for of in compared for other in others):
        known = {row.system for row in of_measure.rows}
        if of_measure.id in other.ids() and other.name not in known:
            left_out[
                f"{of_measure.id} (no song in which both {other.name} and {reference.name} have a"
                " score)"
            ] = None
    measures = tuple(of_measure for of_measure in compared if of_measure.rows)
    if not measures:
        raise DataError(f"nothing can be compared: {'; '.join(left_out)}")
    return Comparison(
        reference=reference.name,
        measures=measures,
        left_out=tuple(left_out),
        notes=tuple(dict.fromkeys(_notes(shared, reference, others))),
    )


def _notes(ids: Sequence[str], reference: Candidate, others: Sequence[Candidate]) -> Iterator[str]:
    """Yield what qualifies the numbers; the same of several measures."""
    for id in ids:
        results = {
            candidate.name: [seed[id].results for seed in candidate.seeds]
            for candidate in (reference, *others)
            if id in candidate.ids()
        }
        for name, seeds in results.items():
            for stored in seeds:
                yield from (f"{name}: {note}" for note in remark_notes(stored))
        for name in [other.name for other in others if other.name in results]:
            yield from settings_note(reference.name, results[reference.name], name, results[name])
        yield from unknown_data_note(stored for seeds in results.values() for stored in seeds)


def _check_seeds(candidate: Candidate, measure: str | None) -> None:
    """Make sure that there is something to compare of this candidate.

    Raises:
        ConfigError: its seeds share no protocol, or none of that measure.
    """
    if candidate.ids(measure):
        return
    first = candidate.seeds[0]
    known = {table.measure.name for table in first.values()}
    if measure is not None and measure not in known:
        raise ConfigError(
            f"--measure {measure}: {candidate.name} has no such scores."
            f"{nearest_name_hint(measure, known)}"
        )
    faults = (
        _what_differs(first, other, measure)
        for other in candidate.seeds[1:]
        if not first.keys() & other.keys()
    )
    what = next(faults, "no protocol is common to all of them")
    raise ConfigError(f"{candidate.name}: its seeds can't be compared: {what}")


def _what_differs(
    reference: Mapping[str, ScoreTable], other: Mapping[str, ScoreTable], measure: str | None
) -> str:
    """Say why two systems share no protocol."""
    faults = {
        f"{ours.measure.name}: {_difference(ours, theirs)}": None
        for ours in reference.values()
        for theirs in other.values()
        if ours.measure.name == theirs.measure.name and measure in (None, ours.measure.name)
    }
    if faults:
        return "; ".join(faults)
    names = [
        ", ".join(dict.fromkeys(table.measure.name for table in tables.values()))
        for tables in (reference, other)
    ]
    return f"no measure in common ({names[0]} and {names[1]})"


def _difference(ours: ScoreTable, theirs: ScoreTable) -> str:
    """Say in what two protocols of one measure differ."""
    facts: list[tuple[str, str, str]] = [
        ("data set", ours.results.dataset, theirs.results.dataset),
        ("split", ours.results.split, theirs.results.split),
        ("content of the data", ours.results.fingerprint[:8], theirs.results.fingerprint[:8]),
        ("sources", ", ".join(ours.results.sources), ", ".join(theirs.results.sources)),
        ("definition", ours.measure.definition, theirs.measure.definition),
        ("over songs", ours.measure.over_tracks, theirs.measure.over_tracks),
    ]
    differing = [f"{name} {one!r} and {two!r}" for name, one, two in facts if one != two]
    return ", ".join(differing) or "sample rate, channels or the sources' stems"


def _compare_measure(
    id: str, reference: Candidate, others: Sequence[Candidate]
) -> MeasureComparison:
    measure = reference.seeds[0][id].measure
    rows: list[ComparisonRow] = []
    for other in others:
        if id not in other.ids():
            continue
        ours = [seed[id] for seed in reference.seeds]
        theirs = [seed[id] for seed in other.seeds]
        rows += _compare_system(other.name, measure, ours, theirs)
    return MeasureComparison(id, measure, tuple(rows))


def _compare_system(
    name: str, measure: Measure, reference: Sequence[ScoreTable], other: Sequence[ScoreTable]
) -> list[ComparisonRow]:
    """Return a row for each source that is defined somewhere, and one for all of them."""
    tables = [table.scores for table in (*reference, *other)]
    tracks = sorted({track for table in tables for track in table})
    shared = {track: shared_sources(tables, track) for track in tracks}  # {song: sources}
    sources = [
        source
        for source in reference[0].results.sources
        if any(source in known for known in shared.values())
    ]

    def row(source: str) -> ComparisonRow:
        chosen = {
            track: known
            for track, all_known in shared.items()
            if (known := all_known if source == ALL else all_known & {source})
        }
        pairs = [
            (song_score(other, track, known), song_score(reference, track, known))
            for track, known in chosen.items()
        ]
        scores, reference_scores = zip(*pairs, strict=True)
        return ComparisonRow(
            system=name,
            source=source,
            reference=_level(measure, reference, chosen, sources),
            level=_level(measure, other, chosen, sources),
            statistics=paired_statistics(scores, reference_scores, measure.higher_is_better),
            left_out=len(tracks) - len(chosen),
        )

    return [row(source) for source in (*sources, ALL)] if sources else []


def _level(
    measure: Measure,
    system: Sequence[ScoreTable],
    chosen: Mapping[str, set[str]],
    sources: Iterable[str],
) -> Level:
    """Aggregate each seed as a summary does: over songs, then over sources."""
    over_tracks = np.median if measure.over_tracks == "median" else np.mean

    def of_seed(scores: Scores) -> float:
        columns = (
            [scores[track][source] for track, known in chosen.items() if source in known]
            for source in sources
        )
        with np.errstate(invalid="ignore"):  # the mean of both infinities is no number
            return float(np.mean([over_tracks(column) for column in columns if column]))

    return Level(tuple(of_seed(table.scores) for table in system))
