"""A run goes on with what it was started with, or says what changed."""

import json

import pytest

from mss.core.errors import ConfigError, DataError
from mss.solver import lock as module
from mss.solver.lock import (
    LOCK,
    PROVENANCE,
    check_lock,
    source_tree_hash,
    write_lock,
    write_provenance,
)

CONFIG = {"optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "seed": 1}
DATA = {"train": {"fingerprint": "aa", "tracks": {"song": 1}}, "valid": {"fingerprint": "bb"}}


@pytest.fixture
def folder(tmp_path):
    """Of a run that has trained with CONFIG."""
    (tmp_path / "checkpoint.th").touch()
    write_lock(tmp_path, CONFIG, "aa")
    return tmp_path


def test_the_same_values_go_on_and_nothing_is_written(folder):
    before = (folder / LOCK).read_bytes()
    check_lock(folder, CONFIG, "aa")
    check_lock(folder, json.loads(json.dumps(CONFIG)) | {"new": 1}, "aa")
    assert (folder / LOCK).read_bytes() == before


def test_a_changed_value_stops_with_its_name_and_both_values(folder):
    changed = {"optim": {"lr": 0.2, "betas": [0.9, 0.999]}, "seed": 1}
    with pytest.raises(ConfigError, match=r"optim\.lr: 0\.1 -> 0\.2"):
        check_lock(folder, changed, "aa")
    assert json.loads((folder / LOCK).read_text())["config"]["optim"]["lr"] == 0.1


def test_a_removed_value_stops_and_an_added_one_does_not(folder):
    check_lock(folder, {**CONFIG, "new": {"key": 1}}, "aa")
    write_lock(folder, {**CONFIG, "new": {"key": 1}}, "aa")
    with pytest.raises(ConfigError, match=r"new: \{'key': 1\} -> None"):
        check_lock(folder, CONFIG, "aa")


def test_one_and_true_and_one_point_zero_are_not_the_same(folder):
    write_lock(folder, {"x": 1, "y": [1]}, "aa")
    with pytest.raises(ConfigError, match="x: 1 -> True"):
        check_lock(folder, {"x": True, "y": [1]}, "aa")
    with pytest.raises(ConfigError, match=r"y: \[1\] -> \[1\.0\]"):
        check_lock(folder, {"x": 1, "y": [1.0]}, "aa")


@pytest.mark.parametrize(
    "after",
    [{"a": 1, "b": {"p": 2}, "c": 3}, {"a": 1}, {"b": {"p": 2}, "a": 1}, {"a": 1, "b": {}}, {}],
)
def test_an_open_mapping_is_compared_as_a_list_of_pairs(folder, after):
    before = {"augment": {"batch": {"a": 1, "b": {"p": 2}}}, "targets": {"x": ["x"]}}
    write_lock(folder, before, "aa")
    open_mappings = ("augment.batch", "targets")
    check_lock(folder, before, "aa", open_mappings=open_mappings)
    now = {"augment": {"batch": after, "new": 1}, "targets": {"x": ["x"]}}
    with pytest.raises(ConfigError, match=r"augment\.batch: \{'a'") as raised:
        check_lock(folder, now, "aa", open_mappings=open_mappings)
    assert "targets" not in str(raised.value)
    assert "augment.new" not in str(raised.value)


def test_an_open_mapping_that_was_not_there_is_an_addition(folder):
    now = CONFIG | {"targets": {"x": ["x"]}}
    check_lock(folder, now, "aa")
    check_lock(folder, CONFIG | {"targets": {}}, "aa", open_mappings=["targets"])
    with pytest.raises(ConfigError, match="targets: None -> "):
        check_lock(folder, now, "aa", open_mappings=["targets"])


def test_other_data_stops(folder):
    write_lock(folder, CONFIG, "aaaaaaaaaa")
    with pytest.raises(ConfigError, match=r"other data .*give dset\.name"):
        check_lock(folder, CONFIG, "bbbbbbbbbb")


def test_changes_can_be_accepted(folder):
    changed = {**CONFIG, "seed": 2}
    check_lock(folder, changed, "bb", accept_changes=True)
    with pytest.raises(ConfigError, match="seed: 1 -> 2"):  # not written yet
        check_lock(folder, changed, "bb")
    write_lock(folder, changed, "bb")
    check_lock(folder, changed, "bb")


def test_values_that_trained_nothing_bind_nobody(tmp_path):
    write_lock(tmp_path, CONFIG, "aa")
    check_lock(tmp_path, {"seed": 2}, "bb")
    with pytest.raises(ConfigError, match="seed: 1 -> 2"):
        check_lock(tmp_path, {"seed": 2}, "bb", has_checkpoint=True)


def test_a_trained_run_without_its_lock_stops(folder):
    (folder / LOCK).unlink()
    with pytest.raises(DataError, match=rf"{LOCK}: missing.*misc\.accept_changes=true"):
        check_lock(folder, CONFIG, "aa")
    check_lock(folder, CONFIG, "aa", accept_changes=True)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"config": 1, "data": "aa"}', b"{}"])
def test_a_damaged_lock_is_named(folder, content):
    (folder / LOCK).write_bytes(content)
    with pytest.raises(DataError, match=LOCK):
        check_lock(folder, CONFIG, "aa")


def test_a_lock_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for write, name in (
        (lambda f: write_lock(f, CONFIG, "aa"), LOCK),
        (lambda f: write_provenance(f, DATA), PROVENANCE),
    ):
        with pytest.raises(DataError, match=rf"{name}: this file could not be written \("):
            write(tmp_path / "file" / "folder")
    (tmp_path / PROVENANCE).mkdir()
    with pytest.raises(DataError, match=rf"{PROVENANCE}: this file can't be read \("):
        write_provenance(tmp_path, DATA)


def test_provenance_keeps_the_first_start_and_adds_those_that_differ(tmp_path, monkeypatch):
    first = write_provenance(tmp_path, DATA)
    assert first["packages"]["torch"].startswith("2.")
    assert write_provenance(tmp_path, DATA) == first

    other = DATA | {"valid": {"fingerprint": "cc"}}
    second = write_provenance(tmp_path, other)
    assert {key: second[key] for key in first} == first
    (entry,) = second["later"]
    assert entry["data"] == {"train": "aa", "valid": "cc"}
    assert (entry["source"], entry["stemgrid"]) == (first["source"], first["stemgrid"])
    assert write_provenance(tmp_path, other) == second  # nothing differs from the start before

    monkeypatch.setattr(module, "source_tree_hash", lambda root: "edited")
    third = write_provenance(tmp_path, other)
    assert [entry["source"] for entry in third["later"]] == [first["source"], "edited"]
    assert json.loads((tmp_path / PROVENANCE).read_text()) == third


def test_the_source_hash_sees_content_and_names(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = source_tree_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    changed = source_tree_hash(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({before, changed, source_tree_hash(tmp_path)}) == 3
