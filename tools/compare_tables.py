"""What `tools.compare` shows of a comparison: tables, sentences, the panels of a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mss.eval.candidates import Candidate
from mss.eval.comparison import ALL, Comparison, ComparisonRow, Level, MeasureComparison
from mss.eval.recovery import recovery
from mss.eval.statistics import FEW_SONGS, LEVEL, MIN_SONGS, TIE, Interval
from mss.eval.table import plural
from mss.report.plots import PairedPanel, PairedRow
from mss.report.tables import Cell, Column, Table

PERCENT = f"{100 * LEVEL:.0f} %"


def measure_table(comparison: MeasureComparison, reference: str) -> Table:
    """Return the table of one measure, and in words what it says of all sources together."""
    measure = comparison.measure
    form = _form(measure.unit)
    better = "higher" if measure.higher_is_better else "lower"
    columns = (
        Column("system", left=True),
        Column("source", left=True),
        Column("score"),
        Column("reference"),
        Column("mean difference", f"+{form}"),
        Column(f"{PERCENT} of the mean"),
        Column("median difference", f"+{form}"),
        Column(f"{PERCENT} of the median"),
        Column("won"),
        Column("Wilcoxon p", ".2g"),
        Column("", left=True),
    )
    rows = tuple(_row(row, form) for row in comparison.rows)
    title = (
        f"{measure.name} in {measure.unit}, {measure.over_tracks} over songs, {better} is better,"
        f" against {reference} ({comparison.id})"
    )
    return Table(columns, rows, title, tuple(_notes(comparison, reference)))


def _row(row: ComparisonRow, form: str) -> tuple[Cell, ...]:
    found = row.statistics
    return (
        row.system,
        row.source,
        _level(row.level, form),
        _level(row.reference, form),
        found.mean,
        _range(found.interval, form),
        found.median,
        _range(found.median_interval, form),
        f"{found.won} of {found.songs}",
        found.p_value,
        found.verdict,
    )


def _notes(comparison: MeasureComparison, reference: str) -> Iterator[str]:
    """Yield what the table says and what a reader should know of it."""
    for row in comparison.rows:
        if row.source == ALL:
            yield sentence(row, reference, comparison.measure.unit)
    for row in comparison.rows:
        for note in _song_notes(row):
            yield f"{row.system}, {row.source}: {note}"
    if len(comparison.rows) > 1:
        yield "each line for itself: where nothing differs, 1 in 20 still says better or worse"
    fewest = min(row.statistics.songs for row in comparison.rows)
    if MIN_SONGS <= fewest < FEW_SONGS:
        yield (
            f"fewer than {FEW_SONGS} songs: where a few differ very much, all to one side, the"
            f" interval of the mean holds the truth in 90 % of the cases at best, not {PERCENT}"
        )
    yield from _seed_notes(comparison.rows, reference)


def _song_notes(row: ComparisonRow) -> Iterator[str]:
    found = row.statistics
    if row.left_out:
        yield (
            f"without {row.left_out} of {plural(found.songs + row.left_out, 'song')}, where one of"
            " the results has no score"
        )
    if found.tied:
        of = plural(found.songs, "song")
        yield f"tied in {found.tied} of {of}: equal, or apart by rounding alone ({TIE:g} at most)"
    if found.infinite:
        yield (
            f"an infinite difference in {found.infinite} of {plural(found.songs, 'song')} (only one"
            " of the two has no error there at all), hence no mean: look at the median"
        )
    elif found.interval is None and found.songs >= MIN_SONGS:
        yield "nearly all differences are the same, so that their mean has no interval"
    elif found.interval is not None and found.interval.low == found.interval.high and found.mean:
        yield "the same difference in every song, so that the interval has no width"


def _seed_notes(rows: Sequence[ComparisonRow], reference: str) -> Iterator[str]:
    """Yield what the table's deviations are, and where the systems differ by no more."""
    counts = {reference: len(rows[0].reference.seeds)}
    counts |= {row.system: len(row.level.seeds) for row in rows}
    several = [f"{count} of {name}" for name, count in counts.items() if count > 1]
    if not several:
        yield (
            "one run of each: the intervals are about other songs; how much another seed would"
            " change is not known"
        )
        return
    yield f"± is the standard deviation of the score over seeds ({', '.join(several)})"
    for system in dict.fromkeys(row.system for row in rows):
        within = [row.source for row in rows if row.system == system and row.within_seed_spread]
        if within:
            where = ", ".join(within)
            yield f"{system}: differs from {reference} by no more than that in {where}"


def sentence(row: ComparisonRow, reference: str, unit: str) -> str:
    """Say in words how a system differs from the reference."""
    found, form = row.statistics, _form(unit)
    if found.verdict == "same in every song":
        return f"{row.system} and {reference}: the same score in every song"
    if found.verdict == "too few songs":
        return (
            f"{row.system} and {reference}: {found.songs} compared songs are too few to tell, at"
            f" least {MIN_SONGS} are needed"
        )
    kind, value, interval = "mean", found.mean, found.interval
    if interval is None:
        kind, value, interval = "median", found.median, found.median_interval
    shown = "not known" if value is None else f"{value:+{form}} {unit}"
    numbers = f"{kind} difference {shown}, {PERCENT} interval {_range(interval, form)}"
    if found.verdict == "not distinguishable":
        return f"{row.system} and {reference} are not distinguishable: {numbers} holds 0"
    return (
        f"{row.system} is {found.verdict} than {reference}: {numbers},"
        f" better in {found.won} of {found.songs} songs ({100 * found.won / found.songs:.0f} %)"
    )


def recovery_table(
    candidates: Sequence[Candidate], unharmed: str, measure: str | None = None
) -> Table:
    """Return which share of a loss each candidate makes good.

    Args:
        candidates: the harmed one, and the others, the unharmed one among them.
        unharmed: its name.
        measure: the only one to look at; None: all that are shared.
    """
    harmed, *others = candidates
    (clean,) = (candidate for candidate in others if candidate.name == unharmed)
    columns = (
        Column("system", left=True),
        Column("measure", left=True),
        Column("lost", ".2f"),
        Column("regained", ".0%"),
        Column(f"{PERCENT} of it"),
    )
    rows: list[tuple[str, str, float, float | None, str | None]] = []
    fewest = FEW_SONGS
    for remedied in (candidate for candidate in others if candidate is not clean):
        shared = {*clean.ids()} & {*remedied.ids()}
        for id in (id for id in harmed.ids(measure) if id in shared):
            found = recovery(clean, harmed, remedied, id)
            interval = found.interval
            shown = f"{interval.low:.0%} to {interval.high:.0%}" if interval else None
            name = harmed.seeds[0][id].measure.name
            fewest = min(fewest, found.songs)
            rows.append((remedied.name, name, found.lost, found.share, shown))
    notes = []
    if any(share is None for _, _, _, share, _ in rows):
        notes.append(f"no share where it is not certain that {harmed.name} lost anything")
    if fewest < FEW_SONGS:
        notes.append(
            f"fewer than {FEW_SONGS} songs: of a ratio of so few, the interval holds the truth in"
            f" 90 % of the cases, not {PERCENT}"
        )
    title = f"What of the loss from {unharmed} to {harmed.name} is regained"
    return Table(columns, tuple(rows), title, tuple(notes))


def all_values(comparison: Comparison) -> Table:
    """Return every number of a comparison as one table, for a CSV file."""
    rows = [
        _values(of_measure, row, comparison.reference)
        for of_measure in comparison.measures
        for row in of_measure.rows
    ]
    columns = tuple(Column(name) for name in rows[0])
    return Table(columns, tuple(tuple(row.values()) for row in rows))


def _values(comparison: MeasureComparison, row: ComparisonRow, reference: str) -> dict[str, Cell]:
    found, measure = row.statistics, comparison.measure
    return {
        "protocol": comparison.id,
        "measure": measure.name,
        "unit": measure.unit,
        "higher_is_better": str(measure.higher_is_better).lower(),
        "reference": reference,
        "system": row.system,
        "source": row.source,
        "songs": found.songs,
        "left_out": row.left_out,
        "score": _known(row.level.score),
        "seeds": len(row.level.seeds),
        "seed_deviation": row.level.deviation,
        "reference_score": _known(row.reference.score),
        "reference_seeds": len(row.reference.seeds),
        "reference_seed_deviation": row.reference.deviation,
        "mean_difference": found.mean,
        "mean_low": found.interval.low if found.interval else None,
        "mean_high": found.interval.high if found.interval else None,
        "median_difference": found.median,
        "median_low": found.median_interval.low if found.median_interval else None,
        "median_high": found.median_interval.high if found.median_interval else None,
        "won": found.won,
        "lost": found.lost,
        "tied": found.tied,
        "wilcoxon_p": found.p_value,
        "verdict": found.verdict,
    }


def measure_panel(comparison: MeasureComparison, reference: str) -> PairedPanel:
    """Return what the plot shows of one measure."""
    measure = comparison.measure
    better = "right" if measure.higher_is_better else "left"
    rows = []
    for row in comparison.rows:
        found = row.statistics
        interval = (found.interval.low, found.interval.high) if found.interval else None
        told = {"better": True, "worse": False}.get(found.verdict)
        label = f"{row.system}, {row.source}"
        rows.append(PairedRow(label, found.differences, found.mean, interval, told))
    return PairedPanel(
        title=f"{measure.name} against {reference}: songs, mean and its {PERCENT} interval",
        axis=f"difference in {measure.unit}, better to the {better}",
        rows=rows,
    )


def _range(interval: Interval | None, form: str) -> str | None:
    return None if interval is None else f"{interval.low:+{form}} to {interval.high:+{form}}"


def _level(level: Level, form: str) -> str | None:
    if math.isnan(level.score):
        return None
    spread = "" if level.deviation is None else f" ±{level.deviation:{form}}"
    return f"{level.score:{form}}{spread}"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _form(unit: str) -> str:
    """Return how numbers are written: hundredths of a dB, four digits of what has no known size."""
    return ".2f" if unit == "dB" else ".4g"
