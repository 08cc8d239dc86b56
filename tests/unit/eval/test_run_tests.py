"""A run's own test, read as results."""

import json
from dataclasses import asdict

import pytest
from scored_songs import GAIN

from mss.core.errors import ConfigError, DataError
from mss.eval.candidates import read_candidate
from mss.eval.comparison import compare
from mss.eval.run_tests import TEST_TRACKS, read_run_test


def write_test(folder, scores, dset="music", fingerprint="abc", **facts):
    """Write what a training leaves: {song: {source: value}} of one measure."""
    folder.mkdir(parents=True)
    content = {
        "dset": dset,
        "split": "test",
        "fingerprint": fingerprint,
        "sources": ["drums", "bass"],
        "measures": {GAIN.name: asdict(GAIN)},
        "inference": {"segment": "6"},
        "shifts": 0,
        **facts,
        "seed": 0,
        "tracks": {song: {GAIN.name: values} for song, values in scores.items()},
    }
    (folder / TEST_TRACKS).write_text(json.dumps(content))
    return folder


def test_a_silent_source_has_no_score(tmp_path):
    write_test(tmp_path / "run", {"a": {"drums": 1.0, "bass": None}})
    (table,) = read_candidate(str(tmp_path / "run"), tmp_path).seeds[0].values()
    assert table.scores == {"a": {"drums": 1.0}}
    assert table.results.system == "run"


def test_runs_on_other_songs_but_tested_on_the_same_are_compared(tmp_path):
    songs = {f"{n}": {"drums": float(n), "bass": 2.0 * n} for n in range(8)}
    louder = {name: {s: v + 1 for s, v in values.items()} for name, values in songs.items()}
    write_test(tmp_path / "one", songs)
    write_test(tmp_path / "two", louder, dset="noisy music")
    write_test(tmp_path / "other", louder, fingerprint="def")
    one, two, other = (read_candidate(n, tmp_path) for n in ("one", "two", "other"))
    (measure,) = compare(one, [two]).measures
    assert [row.statistics.mean for row in measure.rows] == [1.0, 1.0, 1.0]
    with pytest.raises(ConfigError, match="content of the data 'abc' and 'def'"):
        compare(one, [other])


@pytest.mark.parametrize("fact", ["targets", "samplerate", "channels"])
def test_references_made_in_another_way_are_another_protocol(tmp_path, fact):
    facts = {"targets": [["drums"], ["bass"]], "samplerate": 44100, "channels": 2}
    others = {"targets": [["drums"], ["bass", "other"]], "samplerate": 48000, "channels": 1}
    songs = {f"{n}": {"drums": float(n), "bass": 2.0 * n} for n in range(8)}
    write_test(tmp_path / "one", songs, **facts)
    write_test(tmp_path / "two", songs, **facts)
    write_test(tmp_path / "other", songs, **{**facts, fact: others[fact]})
    one, two, other = (read_candidate(n, tmp_path) for n in ("one", "two", "other"))
    assert compare(one, [two]).measures
    with pytest.raises(ConfigError, match="can't be compared"):
        compare(one, [other])


def test_a_run_that_was_not_tested_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"holds no test_tracks.json; a run is tested at its end"):
        read_run_test(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / TEST_TRACKS).write_text("{}")
    with pytest.raises(DataError, match=r"test_tracks.json: can't be read \(KeyError"):
        read_run_test(tmp_path)
