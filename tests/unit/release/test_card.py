"""The model card says what the header and the scores say, and nothing breaks out of its table."""

from fractions import Fraction

from mss.core.types import AudioSpec, InferenceDefaults
from mss.release.card import render_card
from mss.release.header import Header


def header(**changes: object) -> Header:
    values = {
        "arch": "toy",
        "signature": "1a2b3c4d",
        "config": {"hidden": 4},
        "spec": AudioSpec(("drums", "bass", "vocals"), 44100, 2),
        "inference": InferenceDefaults(Fraction(39, 5)),
        "parameters": 1234567,
        "version": "0.1.0",
        "licence": "MIT",
        "provenance": {"data": {"name": "demo"}, "files": list(range(99))},
    }
    return Header(**(values | changes))  # type: ignore[arg-type]


def test_card_states_the_facts() -> None:
    card = render_card("toy-1a2b3c4d-0123abcd", header(), {})
    for text in (
        "# toy-1a2b3c4d-0123abcd\n",
        "splits a mixture into drums, bass and vocals.",
        "| parameters | 1,234,567 |",
        "| audio | 44100 Hz, stereo |",
        "| chunk | 7.8 s, overlap 0.25, triangle |",
        "| licence of the weights | MIT |",
        "stemgrid separate --repo FOLDER -n toy-1a2b3c4d-0123abcd",
        "      name: demo",
        "    files: (99 entries, in the file's header)",
        "None were recorded.",
    ):
        assert text in card
    assert "No licence is stated" not in card


def test_card_without_facts_says_so() -> None:
    bare = header(licence="not stated", provenance={}, inference=InferenceDefaults(None))
    card = render_card("name", bare, {})
    assert "No licence is stated" in card
    assert "Nothing was recorded about how these weights were made." in card
    assert "| chunk | the whole file at once |" in card


def test_scores_stand_in_the_order_of_the_sources_by_protocol() -> None:
    scores = {
        "nsdr/demo": {"mean": 2.0, "vocals": None, "drums": 3.14159},
        "museval/demo": {"bass": -1.0},
        "note": "8 songs",
    }
    card = render_card("name", header(), scores)
    table = [line for line in card.splitlines() if line.startswith("|")][-5:]
    assert table == [
        "| --- | --- | --- |",
        "| drums | 3.14 | - |",
        "| bass | - | -1.00 |",
        "| vocals | - | - |",
        "| mean | 2.00 | - |",
    ]
    assert "|  | nsdr/demo | museval/demo |" in card
    assert "- note: 8 songs" in card


def test_text_of_a_header_stays_in_its_place() -> None:
    """A licence or a provenance from someone else's file can't add headings or rows."""
    card = render_card(
        "name", header(licence="MIT |\n# Trusted", provenance={"by": "x\n```\n# Trusted"}), {}
    )
    assert "\n# Trusted" not in card
    assert "| licence of the weights | MIT \\| # Trusted |" in card
