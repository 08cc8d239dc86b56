"""What a table reads from a history, also from half of one."""

import json

import pytest

from grids._history import (
    best_epoch,
    epoch_seconds,
    is_finished,
    last_section,
    measures,
    read_history,
    scores,
)


def test_the_best_epoch_is_that_of_the_runs_own_note(make_epoch):
    history = [
        make_epoch(1, {"a": 1.0}, best=1.0),
        make_epoch(2, {"a": 3.0}, best=3.0),
        make_epoch(3, {"a": 2.0}, best=3.0),
    ]
    assert best_epoch(history) == 1


def test_a_validation_on_a_subset_is_never_the_best(make_epoch):
    history = [
        make_epoch(1, {"a": 1.0}, best=1.0),
        make_epoch(2, {"a": 9.0}, full=False, best=1.0),
    ]
    assert best_epoch(history) == 0
    assert best_epoch(history[1:]) is None


def test_the_best_may_be_the_lowest():
    history = [{"valid": {"lsd": value, "nsdr": 0.0, "best": 0.5}} for value in (0.7, 0.5, 0.6)]
    assert best_epoch(history, "lsd") == 1


def test_an_older_history_without_the_note_is_searched():
    history = [{"valid": {"nsdr": value}} for value in (-1.0, 0.0, -2.0)]
    assert best_epoch(history) == 1


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{}],
        [None],
        [{"valid": None}],
        [{"train": {"loss": 1.0}}],
        [{"valid": {"nsdr": None}}],
        [{"valid": {"nsdr": float("nan"), "best": float("nan")}}],
    ],
)
def test_half_a_run_has_no_best_epoch(history):
    assert best_epoch(history) is None
    assert last_section(history, "test") == {}


def test_the_newest_epoch_gives_the_time(make_epoch):
    assert epoch_seconds([make_epoch(1, {"a": 1.0}, best=1.0)]) == 12.0
    assert epoch_seconds([{"train": {"seconds": 3.0}, "valid": {}}]) == 3.0
    assert epoch_seconds([{"train": {}}]) is None


def test_measures_are_told_from_losses_and_stems():
    metrics = {
        "loss": 1.0,
        "loss_drums": 1.0,
        "nsdr": 2.0,
        "nsdr_drums": None,
        "museval_sdr": 3.0,
        "museval_sdr_drums": 3.0,
        "seconds": 4.0,
    }
    assert scores(metrics) == {"drums": None}
    assert measures(metrics, ["drums"]) == ["nsdr", "museval_sdr"]


def test_a_damaged_history_is_an_empty_one(tmp_path):
    assert read_history(tmp_path) == []
    for content in ("[{", '{"epoch": 1}', "\x00"):
        (tmp_path / "history.json").write_text(content)
        assert read_history(tmp_path) == []


def test_finished_means_all_epochs_the_test_and_the_weights(tmp_path, make_epoch):
    history = [make_epoch(1, {"a": 1.0}, best=1.0), make_epoch(2, {"a": 1.0}, best=1.0)]

    def finished(epochs: int = 2) -> bool:
        (tmp_path / "history.json").write_text(json.dumps(history))
        return is_finished(tmp_path, epochs)

    (tmp_path / "checkpoint.th").touch()
    assert not finished()  # not tested
    history[-1]["test"] = {"nsdr": 1.0}
    assert finished()
    assert not finished(epochs=3)
    (tmp_path / "checkpoint.th").unlink()
    assert not finished()
