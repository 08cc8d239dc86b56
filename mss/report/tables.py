"""Plain values as a table for the terminal, for Markdown and for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

Cell = str | int | float | None
"""None is a value that is not there."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its head.
        form: how numbers are written (a format specification); texts stay as they are.
        left: aligned to the left, as names are.
    """

    name: str
    form: str = ""
    left: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells.

    Attributes:
        columns: from left to right.
        rows: from top to bottom.
        title: what is shown, in one line.
        notes: what a reader should know of it, a line each.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), f"{len(row)} cells, {len(self.columns)} columns"


def render_text(table: Table) -> str:
    """Return the table for a terminal: title, aligned columns, notes."""
    rows = [tuple(column.name for column in table.columns), *_shown(table)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    lines = [table.title] if table.title else []
    for row in rows:
        cells = [
            cell.ljust(width) if column.left else cell.rjust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *table.notes])


def render_markdown(table: Table) -> str:
    """Return the table as GitHub's Markdown: title in bold, table, notes as a list."""
    head = _markdown_row(column.name for column in table.columns)
    rule = _markdown_row(":--" if column.left else "--:" for column in table.columns)
    body = [_markdown_row(row) for row in _shown(table)]
    blocks = [f"**{_escape(table.title)}**"] if table.title else []
    blocks.append("\n".join([head, rule, *body]))
    if table.notes:
        blocks.append("\n".join(f"- {_escape(note)}" for note in table.notes))
    return "\n\n".join(blocks) + "\n"


def render_csv(table: Table) -> str:
    """Return head and rows with every digit of every number; an empty cell for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows(table.rows)
    return text.getvalue()


def _shown(table: Table) -> list[tuple[str, ...]]:
    return [
        tuple(_show(cell, column) for cell, column in zip(row, table.columns, strict=True))
        for row in table.rows
    ]


def _show(cell: Cell, column: Column) -> str:
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else format(cell, column.form)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Keep a name's special characters from ending a cell or starting an emphasis."""
    for character in "\\|*_<`":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
