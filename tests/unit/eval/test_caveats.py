"""Notes on stored scores, each against what is in them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mss.eval.caveats import (
    missing_score_notes,
    remark_notes,
    settings_note,
    shared_notes,
    unknown_data_note,
)
from mss.eval.results import StoredResults

SETTINGS = {
    "name": "one",
    "label": None,
    "weights": None,
    "inference": {"segment": "8", "overlap": "1/4"},
    "batch_size": 1,
    "device": "cpu",
}


def stored(**facts: Any) -> StoredResults:
    scores = {"a": (1.0, 2.0, 3.0), "b": (math.nan, math.nan, 1.0), "c": (math.nan, math.nan, 2.0)}
    sources = ("drums", "bass", "vocals")
    plain = StoredResults(
        path=Path("one"),
        system="one",
        dataset="demo",
        split="test",
        fingerprint="f" * 64,
        sources=sources,
        measures={},
        ids={},
        tracks={
            song: {"nsdr": dict(zip(sources, row, strict=True))} for song, row in scores.items()
        },
        settings=SETTINGS,
    )
    return replace(plain, **facts)


def test_each_kind_of_remark_is_told_once() -> None:
    remarks = {
        "a": ("SIR depends on rounding: by up to 3 dB", "SIR depends on rounding: by up to 4 dB"),
        "c": ("SIR depends on rounding: by up to 5 dB", "quiet: -80 dB"),
    }
    assert list(remark_notes(stored(remarks=remarks))) == [
        "2 of 3 songs: SIR depends on rounding (tracks/SONG.json tells by how much)",
        "1 of 3 songs: quiet (tracks/SONG.json tells by how much)",
    ]
    assert list(remark_notes(stored())) == []


def test_sources_that_rest_on_fewer_songs() -> None:
    assert list(missing_score_notes(stored(), "nsdr")) == [
        "nsdr of drums, bass: 1 of 3 songs, the others have no such score"
    ]
    assert len(list(missing_score_notes(stored(), "sdr"))) == 1  # all three, in no song


def test_notes_of_all_systems_are_not_repeated() -> None:
    assert shared_notes({"one": ["x", "y"], "two": ["x"]}) == ["x", "one: y"]
    assert shared_notes({"one": [], "two": ["x"]}) == ["two: x"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": "two", "label": "x", "weights": [[1.0]]}, None),
        ({"batch_size": 4, "device": "cuda"}, "batch_size, device"),
        ({"inference": {"segment": "8", "overlap": "1/2"}}, "inference.overlap"),
        ({"shifts": 2}, "shifts"),  # of a version that knew more settings
        ({"inference": None, "batch_size": 4}, None),  # an oracle
    ],
)
def test_settings_that_differ_are_named(changed: dict[str, Any], named: str | None) -> None:
    one, two = stored(), stored(settings={**SETTINGS, **changed})
    expected = [] if named is None else [f"two and one were run with other settings: {named}"]
    assert list(settings_note("one", [one], "two", [two])) == expected
    assert list(settings_note("one", [one, two], "two", [one])) == expected  # among the seeds


def test_data_of_which_nothing_is_known() -> None:
    assert list(unknown_data_note([stored()])) == []
    (note,) = unknown_data_note([stored(), stored(fingerprint="unknown")])
    assert "songs have the same names" in note
