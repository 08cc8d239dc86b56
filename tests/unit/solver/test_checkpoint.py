"""Checkpoints keep every generator, never run code, and never lose the one before."""

import os
import pickle
import random

import numpy as np
import pytest
import torch

from mss.core.errors import DataError
from mss.solver import checkpoint as module
from mss.solver.checkpoint import load_checkpoint, rng_state, save_checkpoint, set_rng_state


def draws() -> list[float]:
    return [random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()]


def test_every_generator_goes_on_where_it_stood(tmp_path):
    random.gauss(0, 1)  # leaves half a pair behind, as part of the state
    np.random.randn()
    save_checkpoint(tmp_path / "c.th", {"rng": rng_state()})
    expected = draws()
    draws()
    set_rng_state(load_checkpoint(tmp_path / "c.th")["rng"])
    assert draws() == expected


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "c.th").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match="can't be read"):
        load_checkpoint(tmp_path / "c.th")
    torch.save({"format": module.FORMAT, "x": Payload()}, tmp_path / "d.th")
    with pytest.raises(DataError, match="can't be read"):
        load_checkpoint(tmp_path / "d.th")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "c.th"
    save_checkpoint(path, {"x": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"c\.th: this checkpoint can't be read"):
        load_checkpoint(path)


def test_a_failed_write_keeps_the_older_one_and_no_half(tmp_path, monkeypatch):
    path = tmp_path / "c.th"
    save_checkpoint(path, {"x": 1})

    def full_disk(state, where):
        where.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch, "save", full_disk)
    with pytest.raises(DataError, match="No space left"):
        save_checkpoint(path, {"x": 2})
    monkeypatch.undo()
    assert load_checkpoint(path)["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.th"]


def test_a_newer_format_is_refused(tmp_path):
    torch.save({"format": module.FORMAT + 1}, tmp_path / "c.th")
    with pytest.raises(DataError, match=f"format {module.FORMAT + 1}"):
        load_checkpoint(tmp_path / "c.th")


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "c.th"
    torch.save([1, 2], path)
    with pytest.raises(DataError, match=r"c\.th: holds list, not a checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, {"model": {}, "epoch": "one"})
    with pytest.raises(DataError, match=r"c\.th: this checkpoint lacks epoch, step\."):
        load_checkpoint(path, {"model": dict, "epoch": int, "step": int})
    assert load_checkpoint(path, {"model": dict})["model"] == {}
