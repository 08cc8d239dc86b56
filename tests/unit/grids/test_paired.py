"""Runs paired song by song, against arithmetic by hand."""

import json

import pytest

from grids._paired import compare_runs, read_test_tracks

FIRST = {
    "one": {"drums": 4.0, "bass": 2.0},
    "two": {"drums": 1.0, "bass": None},
    "three": {"drums": 0.0, "bass": -1.0},
}


def read(write_run, folder, tracks, **kwargs):
    found = read_test_tracks(write_run(folder, tracks=tracks, **kwargs))
    assert found is not None
    return found


def test_songs_are_compared_by_the_sources_that_both_define(tmp_path, write_run):
    other = {
        "one": {"drums": 5.0, "bass": 5.0},  # +1 and +3: 2
        "two": {"drums": 2.0, "bass": 9.0},  # drums alone are known of both: 1
        "three": {"drums": None, "bass": 2.0},  # bass alone: 3
    }
    first = read(write_run, tmp_path / "a", FIRST)
    found = compare_runs(read(write_run, tmp_path / "b", other), first)
    assert found is not None
    assert found.differences == (2.0, 1.0, 3.0)
    assert (found.won, found.verdict) == (3, "too few songs")


def test_sources_that_only_one_run_has_do_not_count(tmp_path, write_run):
    vocals_too = {name: {**scores, "vocals": 50.0} for name, scores in FIRST.items()}
    first = read(write_run, tmp_path / "a", FIRST)
    found = compare_runs(read(write_run, tmp_path / "b", vocals_too), first)
    assert found is not None
    assert (found.differences, found.verdict) == ((0.0, 0.0, 0.0), "same in every song")


def test_a_song_without_a_common_source_is_left_out(tmp_path, write_run):
    other = {"one": {"drums": 5.0}, "two": {"bass": 1.0}, "three": {"drums": None}}
    first = read(write_run, tmp_path / "a", FIRST)
    found = compare_runs(read(write_run, tmp_path / "b", other), first)
    assert found is not None
    assert found.differences == (1.0,)


def test_other_songs_are_not_compared(tmp_path, write_run):
    first = read(write_run, tmp_path / "a", FIRST)
    other_content = read(write_run, tmp_path / "b", FIRST, fingerprint="0" * 64)
    fewer = read(write_run, tmp_path / "c", {"one": FIRST["one"]})
    other_sources = read(write_run, tmp_path / "d", {name: {"piano": 1.0} for name in FIRST})
    assert compare_runs(other_content, first) is None
    assert compare_runs(fewer, first) is None
    assert compare_runs(other_sources, first) is None
    content = json.loads((tmp_path / "a" / "test_tracks.json").read_text())
    (tmp_path / "a" / "test_tracks.json").write_text(json.dumps({**content, "split": "valid"}))
    other_split = read_test_tracks(tmp_path / "a")
    assert other_split is not None
    assert compare_runs(other_split, first) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"split": "test", "tracks": {"a": 1}}'])
def test_a_damaged_file_compares_nothing(tmp_path, content):
    (tmp_path / "test_tracks.json").write_text(content)
    assert read_test_tracks(tmp_path) is None
