"""Scored songs survive a killed process, and are never mixed with others."""

import math

import pytest

from mss.core.errors import ConfigError, DataError
from mss.distill.quality.store import ScoredTrack, ScoreStore
from mss.distill.quality.table import Row, SegmentTable

SETTINGS = {"model": "m", "scores": {"segment": 6.0}, "limit": None}
SONG = ScoredTrack(
    "a song",
    "abc",
    (
        Row("a song", "drums", 0.0, 3.5, {"agreement": 12.25, "leakage": math.nan}),
        Row("a song", "vocals", 6.0, -1.5, {"agreement": 2.0, "leakage": -20.0}),
    ),
    {"drums": 0, "vocals": 1},
)


def test_songs_are_read_back(tmp_path):
    ScoreStore(tmp_path, SETTINGS).write(SONG)
    found = ScoreStore(tmp_path, SETTINGS).read("a song", "abc")
    assert found is not None
    assert (found.name, found.content, found.silent) == (SONG.name, SONG.content, SONG.silent)
    assert found.rows[1] == SONG.rows[1]
    table = SegmentTable.of(found.rows)
    assert math.isnan(table.scores["leakage"][0]) and table.scores["agreement"][0] == 12.25


def test_a_song_that_is_not_there_or_has_other_audio_is_scored_again(tmp_path):
    store = ScoreStore(tmp_path, SETTINGS)
    store.write(SONG)
    assert store.read("another", "abc") is None
    assert store.read("a song", "def") is None


def test_songs_that_were_scored_otherwise_are_refused(tmp_path):
    ScoreStore(tmp_path, SETTINGS).write(SONG)
    with pytest.raises(ConfigError, match=r"scored otherwise \(model\).*--anew"):
        ScoreStore(tmp_path, {**SETTINGS, "model": "n"})
    anew = ScoreStore(tmp_path, {**SETTINGS, "model": "n"}, anew=True)
    assert anew.read("a song", "abc") is None
    ScoreStore(tmp_path, {**SETTINGS, "model": "n"})


def test_damaged_files_are_named(tmp_path):
    store = ScoreStore(tmp_path, SETTINGS)
    store.write(SONG)
    path = tmp_path / "tracks" / "a song.json"
    path.write_text('{"content": "abc"}')
    with pytest.raises(DataError, match=r"a song\.json: is no scored song"):
        store.read("a song", "abc")
    path.write_text("{")
    with pytest.raises(DataError, match=r"a song\.json: can't be read"):
        store.read("a song", "abc")
