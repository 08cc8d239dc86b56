"""The validation of scores as Markdown and as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mss.distill.quality.comparison import ScoreResult
from mss.distill.quality.scores import SCORES
from mss.distill.quality.store import plain_values
from mss.distill.quality.table import SegmentTable
from mss.distill.quality.validation import BOOSTING, RIDGE, SHUFFLED, Validation
from mss.report.tables import Cell, Column, Table, render_csv, render_markdown, render_text

_MEANINGS = {
    **{name: score.meaning for name, score in SCORES.items()},
    RIDGE: "ridge regression over all of them and the source, fitted to other songs",
    BOOSTING: "gradient boosting over the same, fitted to other songs",
    SHUFFLED: "a score whose values are shuffled: the negative control",
}

_METHOD = (
    "Rank correlations (Spearman's rho) of score and true SDR (nSDR of the segment). Scores are"
    " turned so that higher is better. In brackets: 95 % intervals from a bootstrap of whole songs"
    " (expanded percentile).",
    "*Within songs*: the mean over songs of the rho over the segments of one source of one song.",
    "*Gain*: rho less that of the level of the estimate, whichever way the level points. A score"
    " works where the whole interval of its gain lies above 0, over all segments and within songs.",
    "*Partial*: rho once the level of the estimate is accounted for.",
)


def comparison_table(validation: Validation) -> Table:
    """Return one row a score: rho, within songs, their gains over the level, and the answer."""
    rows: list[tuple[Cell, ...]] = []
    for result in validation.results:
        rows.append(
            (
                result.name,
                str(result.pooled.rho),
                str(result.pooled.gain),
                str(result.partial),
                str(result.within.rho),
                str(result.within.gain),
                result.undefined,
                validation.verdicts[result.name].answer,
            )
        )
    heads = ("score", "rho", "gain", "partial", "rho within songs", "gain within songs")
    return Table(
        columns=(
            *(Column(head, left=True) for head in heads),
            Column("undefined"),
            Column("works", left=True),
        ),
        rows=tuple(rows),
        title=f"{validation.rows} segments of {validation.songs} songs",
    )


def source_table(validation: Validation) -> Table:
    """Return rho and its gain over the level for each source."""
    sources = list(validation.sdr)

    def cells(result: ScoreResult) -> tuple[Cell, ...]:
        each = [result.sources[source] for source in sources]
        return (result.name, *(f"{one.rho}, gain {one.gain}" for one in each))

    return Table(
        columns=tuple(Column(head, left=True) for head in ("score", *sources)),
        rows=tuple(cells(result) for result in validation.results),
        title="Each source by itself",
        notes=(
            "mean true SDR: "
            + ", ".join(f"{source} {value:.2f} dB" for source, value in validation.sdr.items()),
            f"with {len(sources) * len(validation.results)} intervals, one in forty lies above 0 by"
            " chance",
        ),
    )


def selection_table(validation: Validation) -> Table:
    """Return what selecting segments by each score gives."""
    shares = [selection.share for selection in validation.results[0].selections]
    columns = [Column("selected by", left=True)]
    for share in shares:
        columns += [Column(f"best {share:.0%}", ".2f"), Column("above random", left=True)]
    rows: list[tuple[Cell, ...]] = []
    for result in validation.results:
        cells: list[Cell] = [result.name]
        for selection in result.selections:
            cells += [_number(selection.mean), str(selection.gain)]
        rows.append(tuple(cells))
    whole = max(validation.results, key=lambda result: result.pooled.rows)
    for label in ("random", "oracle"):
        cells = [label]
        for selection in whole.selections:
            cells += [_number(getattr(selection, label)), "-"]
        rows.append(tuple(cells))
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        title="Mean true SDR in dB of the segments that are selected, for each source by itself",
    )


def control_lines(validation: Validation) -> tuple[str, ...]:
    """Return what the negative control gave."""
    control = validation.control
    lines = [
        f"{control.score} shuffled over all songs, sources and segments: rho {control.mean:.3f} on"
        f" average, 95 % of the shuffles within [{control.low:.3f}, {control.high:.3f}], which"
        f" {'holds' if control.low <= 0 <= control.high else 'does not hold'} 0.",
    ]
    if control.intervals:
        lines.append(
            f"0 lies in {control.held} of {control.intervals} bootstrap intervals of such shuffles"
            f" ({0.95 * control.intervals:.0f} expected)."
        )
    lines.append(
        f"Shuffled within each source only, {control.score} still has rho"
        f" {control.within_source:.2f}: that much only says which source it is."
    )
    return tuple(lines)


def render_report(
    validation: Validation, title: str, facts: Mapping[str, str], notes: Sequence[str]
) -> str:
    """Return the report as Markdown.

    Args:
        validation: what was found.
        title: of the report.
        facts: how it was made, by name.
        notes: what a reader should know of the data or the model.
    """
    verdicts = [f"- {verdict.sentence}" for verdict in validation.verdicts.values()]
    meanings = [
        f"- {result.name}: {_MEANINGS.get(result.name, 'given')}." for result in validation.results
    ]
    made = Table(
        columns=(Column("made with", left=True), Column("", left=True)),
        rows=tuple(facts.items()),
    )
    blocks = [
        f"# {title}",
        validation.conclusion,
        *(f"**Note.** {note}." for note in notes),
        "## Verdicts",
        "\n".join(verdicts),
        "## Rank correlations",
        render_markdown(comparison_table(validation)).rstrip(),
        "\n".join(f"- {line}" for line in _METHOD),
        render_markdown(source_table(validation)).rstrip(),
        "## Selection",
        render_markdown(selection_table(validation)).rstrip(),
        "## Negative control",
        "\n".join(f"- {line}" for line in control_lines(validation)),
        "## Scores",
        "\n".join(meanings),
        *_calibration_lines(validation),
        "## How it was made",
        render_markdown(made).rstrip(),
    ]
    return "\n\n".join(blocks) + "\n"


def render_summary(validation: Validation) -> str:
    """Return what a terminal shows: the table, the control and the verdicts."""
    blocks = [
        render_text(comparison_table(validation)),
        "\n".join(control_lines(validation)),
        "\n".join(verdict.sentence for verdict in validation.verdicts.values()),
        validation.conclusion,
    ]
    return "\n\n".join(blocks)


def report_values(validation: Validation) -> dict[str, Any]:
    """Return the whole validation as plain values; null where something is not defined."""
    values = asdict(validation)
    del values["regressor"]  # a file of its own
    values |= {
        "working": list(validation.working),
        "conclusion": validation.conclusion,
        "control_passed": validation.control.passed,
    }
    plain: dict[str, Any] = plain_values(values)
    return plain


def segments_csv(table: SegmentTable) -> str:
    """Return every segment and source with its true SDR and its scores, as CSV."""
    names = list(table.scores)
    columns = ("track", "source", "start", "true_sdr", *names)
    rows: list[tuple[Cell, ...]] = []
    for row in range(len(table)):
        values = (_number(float(table.scores[name][row])) for name in names)
        place = (str(table.tracks[row]), str(table.sources[row]), float(table.starts[row]))
        rows.append((*place, float(table.sdr[row]), *values))
    return render_csv(Table(tuple(Column(name) for name in columns), tuple(rows)))


def _calibration_lines(validation: Validation) -> list[str]:
    calibration = validation.calibration
    if calibration is None:
        return []
    return [
        "## Calibration",
        f"The ridge, fitted to other songs, is {calibration.error:.2f} dB off on average; the mean"
        f" of each source alone would be {calibration.constant:.2f} dB off. Weights of"
        " pseudo-labels are made from its expectation (`ridge.json`, fitted to all songs here).",
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
