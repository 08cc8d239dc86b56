"""An evaluation as a plain text table."""

from __future__ import annotations

from mss.eval.protocol import Protocol
from mss.eval.summary import MeanScore, MeasureSummary, SourceScore, Summary

_HEAD: tuple[str, ...] = ("source", "score", "do nothing", "difference", "songs")


def render_summary(summary: Summary, protocol: Protocol) -> str:
    """Return one table a measure, since no two of them share a column, and what is silent."""
    blocks = [_render_measure(of_measure, protocol) for of_measure in summary.measures]
    silent = [
        f"{source}: silent throughout in {silence.tracks} of {plural(summary.tracks, 'song')},"
        f" where it has no score; leakage {_number(silence.leakage)} dB in silent frames"
        for source, silence in summary.silence.items()
        if silence.tracks
    ]
    if silent:
        blocks.append("\n".join(silent))
    if summary.remarks:
        blocks.append("\n".join(f"{song}: {text}" for song, text in summary.remarks))
    blocks.append("do nothing: the mixture at its best constant gain for each source and song")
    return "\n\n".join(blocks)


def plural(count: int, noun: str) -> str:
    """Return "1 song", "2 songs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _render_measure(summary: MeasureSummary, protocol: Protocol) -> str:
    measure = summary.measure
    better = "higher" if measure.higher_is_better else "lower"
    rows = [_HEAD]
    rows += [_source_row(source, row) for source, row in summary.sources.items()]
    rows.append(_mean_row(summary.mean, len(summary.sources)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        f"{measure.name} in {measure.unit}, {measure.over_tracks} over songs, {better} is better"
        f" ({protocol.id(measure)})"
    ]
    if summary.frames is not None and summary.frames.used < summary.frames.total:
        left_out = summary.frames.total - summary.frames.used
        lines.append(
            f"without {left_out} of {plural(summary.frames.total, 'frame')}, in which a reference"
            " or an estimate is silent"
        )
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _source_row(name: str, row: SourceScore) -> tuple[str, ...]:
    songs = f"{row.tracks} of {row.tracks + row.undefined}" if row.undefined else f"{row.tracks}"
    return (name, *_numbers(row), songs)


def _mean_row(mean: MeanScore, sources: int) -> tuple[str, ...]:
    name = "mean" if mean.sources == sources else f"mean of {mean.sources} sources"
    return (name, *_numbers(mean), "")


def _numbers(row: SourceScore | MeanScore) -> tuple[str, ...]:
    return _number(row.score), _number(row.do_nothing), _number(row.difference, "+.2f")


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
