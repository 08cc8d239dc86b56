"""A run goes on with what it was started with, or says what changed."""

import json

import pytest

from mss.core.errors import ConfigError, DataError
from mss.solver.lock import LOCK, check_lock, source_tree_hash, write_provenance

CONFIG = {"optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "seed": 1}


def test_the_same_values_go_on(tmp_path):
    check_lock(tmp_path, CONFIG, "aa")
    check_lock(tmp_path, json.loads(json.dumps(CONFIG)), "aa")


def test_a_changed_value_stops_with_its_name_and_both_values(tmp_path):
    check_lock(tmp_path, CONFIG, "aa")
    changed = {"optim": {"lr": 0.2, "betas": [0.9, 0.999]}, "seed": 1}
    with pytest.raises(ConfigError, match=r"optim\.lr: 0\.1 -> 0\.2"):
        check_lock(tmp_path, changed, "aa")
    assert json.loads((tmp_path / LOCK).read_text())["config"]["optim"]["lr"] == 0.1


def test_a_removed_value_stops_and_an_added_one_does_not(tmp_path):
    check_lock(tmp_path, CONFIG, "aa")
    check_lock(tmp_path, {**CONFIG, "new": {"key": 1}}, "aa")
    with pytest.raises(ConfigError, match=r"new\.key|new:"):
        check_lock(tmp_path, CONFIG, "aa")


def test_one_and_true_and_one_point_zero_are_not_the_same(tmp_path):
    check_lock(tmp_path, {"x": 1}, "aa")
    with pytest.raises(ConfigError, match="x: 1 -> True"):
        check_lock(tmp_path, {"x": True}, "aa")


def test_other_data_stops(tmp_path):
    check_lock(tmp_path, CONFIG, "aaaaaaaaaa")
    with pytest.raises(ConfigError, match=r"other data .*give dset\.name"):
        check_lock(tmp_path, CONFIG, "bbbbbbbbbb")


def test_changes_can_be_accepted_once(tmp_path):
    check_lock(tmp_path, CONFIG, "aa")
    check_lock(tmp_path, {**CONFIG, "seed": 2}, "bb", accept_changes=True)
    check_lock(tmp_path, {**CONFIG, "seed": 2}, "bb")


def test_a_damaged_lock_is_named(tmp_path):
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(DataError, match=LOCK):
        check_lock(tmp_path, CONFIG, "aa")


def test_provenance_is_written_once(tmp_path):
    first = write_provenance(tmp_path, {"train": 1})
    assert first["packages"]["torch"].startswith("2.")
    assert write_provenance(tmp_path, {"train": 2})["data"] == {"train": 1}


def test_the_source_hash_sees_content_and_names(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = source_tree_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    changed = source_tree_hash(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({before, changed, source_tree_hash(tmp_path)}) == 3
