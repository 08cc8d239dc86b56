"""Finding a finished run."""

from pathlib import Path

import pytest

from mss import trained
from mss.core.errors import ConfigError


def test_a_run_that_does_not_exist_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("STEMGRID_OUTPUTS", str(tmp_path))
    (tmp_path / "xps" / "deadbeef").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"deadbeex: no run .*Did you mean 'deadbeef'"):
        trained.run_folder("deadbeex")
    with pytest.raises(ConfigError, match="no run"):
        trained.run_folder("../xps")
    assert trained.run_folder("deadbeef") == Path(tmp_path / "xps" / "deadbeef")


def test_scores_of_a_release_are_those_of_the_best_epoch_and_of_the_test():
    def epoch(value: float) -> dict[str, float]:
        return {"loss": 0.1, "nsdr": value, "nsdr_a": value + 1, "nsdr_b": value - 1, "best": 9.0}

    tested = {"loss": 0.2, "nsdr": 4.0, "nsdr_a": 4.0, "nsdr_b": None}
    state = {
        "history": [{"valid": epoch(5.0)}, {"valid": epoch(3.0), "test": tested}],
        "best": {"epoch": 1},
    }
    lock = {"spec": {"sources": ["a", "b"]}, "dset": {"name": "mine"}}
    assert trained._scores(lock, state) == {
        "nsdr/mine/valid": {"a": 6.0, "b": 4.0, "mean": 5.0},
        "nsdr/mine/test": {"a": 4.0, "mean": 4.0},
    }
