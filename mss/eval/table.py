"""An evaluation as a plain text table."""

from __future__ import annotations

from mss.eval.results import Protocol
from mss.eval.summary import MeasureSummary, SourceScore, Summary

_HEAD: tuple[str, ...] = ("source", "score", "do nothing", "difference", "songs")


def render_summary(summary: Summary, protocol: Protocol) -> str:
    """Return one table a measure, since no two of them share a column, and what is silent."""
    blocks = [_render_measure(of_measure, protocol) for of_measure in summary.measures]
    silent = [
        f"{source}: silent throughout in {silence.tracks} of {summary.tracks} songs, which have no"
        f" score of it; leakage {_number(silence.leakage)} dB in silent frames"
        for source, silence in summary.silence.items()
        if silence.tracks
    ]
    if silent:
        blocks.append("\n".join(silent))
    blocks.append("do nothing: the mixture at its best constant gain for each source and song")
    return "\n\n".join(blocks)


def _render_measure(summary: MeasureSummary, protocol: Protocol) -> str:
    measure = summary.measure
    better = "higher" if measure.higher_is_better else "lower"
    rows = [_HEAD]
    rows += [_row(source, row) for source, row in summary.sources.items()]
    rows.append(_row("mean", summary.mean))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        f"{measure.name} in {measure.unit}, {measure.over_tracks} over songs, {better} is better"
        f" ({protocol.id(measure)})"
    ]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _row(name: str, row: SourceScore) -> tuple[str, ...]:
    songs = f"{row.tracks} of {row.tracks + row.undefined}" if row.undefined else f"{row.tracks}"
    difference = _number(row.difference, "+.2f")
    return name, _number(row.score), _number(row.do_nothing), difference, songs


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
