"""Tables as text, Markdown and CSV."""

import csv
import io

import pytest

from mss.report.tables import Column, Table, render_csv, render_markdown, render_text

TABLE = Table(
    columns=(Column("name", left=True), Column("score", "+.2f"), Column("songs", "d")),
    rows=(("drums", 1.23456, 12), ("a|b*", None, 3), ("x", float("inf"), 10)),
    title="nsdr in dB",
    notes=("one note",),
)


def test_text_is_aligned():
    assert render_text(TABLE).splitlines() == [
        "nsdr in dB",
        "name   score  songs",
        "drums  +1.23     12",
        "a|b*       -      3",
        "x       +inf     10",
        "one note",
    ]


def test_markdown_keeps_special_characters():
    assert render_markdown(TABLE).splitlines() == [
        "**nsdr in dB**",
        "",
        "| name | score | songs |",
        "| :-- | --: | --: |",
        "| drums | +1.23 | 12 |",
        r"| a\|b\* | - | 3 |",
        "| x | +inf | 10 |",
        "",
        "- one note",
    ]


def test_csv_has_every_digit():
    rows = list(csv.DictReader(io.StringIO(render_csv(TABLE))))
    assert float(rows[0]["score"]) == 1.23456
    assert rows[1] == {"name": "a|b*", "score": "", "songs": "3"}
    assert float(rows[2]["score"]) == float("inf")


def test_without_title_and_notes():
    table = Table((Column("a"),), ((1,),))
    assert render_text(table) == "a\n1"
    assert render_markdown(table) == "| a |\n| --: |\n| 1 |\n"


def test_rows_are_as_long_as_the_head():
    with pytest.raises(AssertionError, match="1 cells, 2 columns"):
        Table((Column("a"), Column("b")), ((1,),))
