"""What a run tells of itself, in a log and for TensorBoard."""

import subprocess
import sys
import time

import pytest

from mss.core.errors import ConfigError
from mss.solver.progress import StageProgress, log_stage
from mss.solver.tensorboard import FOLDER, TensorBoardLink


class Kept:
    history = None

    def update_history(self, history):
        self.history = list(history)


def test_a_log_has_a_line_now_and_then_with_the_time_left(monkeypatch, caplog):
    caplog.set_level("INFO")
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = StageProgress("train 1/9", 110, done=10, log_seconds=60)
    for _ in range(100):
        now[0] += 7.0
        progress.step(loss="0.5")
    progress.close()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "train 1/9 | 19/110 | loss 0.5 | 10:37 left"  # 9 steps of 7 s, 91 more
    assert len(lines) == 11  # 700 s, each line at the first step past 60 s


@pytest.mark.parametrize("off", [{"show": False}, {"log_seconds": 0}])
def test_lines_can_be_turned_off(monkeypatch, caplog, off):
    caplog.set_level("INFO")
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = StageProgress("train", 10, **off)
    for _ in range(10):
        now[0] += 100
        progress.step()
    assert not caplog.records


def test_only_the_main_process_tells(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("mss.core.distrib.rank", lambda: 1)
    log_stage("train 1/2", {"loss": 0.5})
    assert not caplog.records


PEAKS = """
import torch
from mss.solver.progress import peak_gib
cpu = torch.device("cpu")
before = peak_gib(cpu)
held = bytearray(2**30)
held[:: 2**12] = b"x" * len(held[:: 2**12])  # touch every page
print(before, peak_gib(cpu))
del held
print(peak_gib(cpu))
"""


def test_the_peak_is_in_gib_and_stays():
    """In a process of its own: this one may have held more before."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    before, held, after = (float(word) for word in done.stdout.split())
    assert before > 0.05
    assert 1.0 < held < before + 1.2  # before may be the parent's, which an exec hands on
    assert after == held


EPOCHS = [
    {"epoch": 1, "train": {"loss": 0.5}, "valid": {"nsdr": 1.5, "origin": "raw", "full": True}},
    {"epoch": 2, "train": {"loss": 0.25}, "valid": {"nsdr": None, "full": False}},
]


def drawn(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / FOLDER))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def test_tensorboard_has_each_epoch_once_also_after_a_resume(tmp_path):
    kept = Kept()
    first = TensorBoardLink(kept, tmp_path)
    for count in (1, 2, 2):
        first.update_history(EPOCHS[:count])
    assert kept.history == EPOCHS
    tested = [EPOCHS[0], {**EPOCHS[1], "test": {"nsdr": 2.5}}]
    again = TensorBoardLink(Kept(), tmp_path)
    again.update_history(tested)
    longer = [*tested, {"epoch": 3, "train": {"loss": 0.125}, "valid": {}, "test": {"nsdr": 3.5}}]
    again.update_history(longer)
    assert drawn(tmp_path) == {
        "train/loss": [(1, 0.5), (2, 0.25), (3, 0.125)],
        "valid/nsdr": [(1, 1.5)],
        "test/nsdr": [(2, 2.5), (3, 3.5)],
    }


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"misc\.tensorboard: .*\[tensorboard\]"):
        TensorBoardLink(Kept(), tmp_path)
