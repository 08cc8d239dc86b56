"""Two gloo ranks under Dora: the run of one process, one fate, and one writer."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.integ

TINY = ("dset=demo_tiny", "variant=debug", "misc.workers=1", "misc.threads=1", "train.segment=1")
OPENUNMIX = (*TINY, "model=openunmix_tiny", "model.hidden_size=32", "train.batch_size=8")
RANKS = ("dora", "-P", "mss", "run", "-d", "--ddp_workers=2")


def final(lab, sig):
    return torch.load(lab.runs / sig / "checkpoint.th", weights_only=True)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.timeout(400)
def test_two_ranks_have_the_loss_curve_of_one_process(make_lab):
    """Every batch augmentation, 20 updates, each an epoch so that its loss is kept."""
    alone, ranks = make_lab("alone"), make_lab("ranks")
    run = (*TINY, "model=hdemucs_tiny", "augment=default", "train.batch_size=8", "train.items=8")
    run += ("train.epochs=20", "valid.every=20", "train.segment=0.5")
    alone.train(*run)
    ranks.run(*RANKS, *run)
    sig = alone.signature(*run)
    curves = [
        [epoch["train"]["loss"] for epoch in final(lab, sig)["history"]] for lab in (alone, ranks)
    ]
    assert len(curves[0]) == 20
    worst = max(abs(one - other) for one, other in zip(*curves, strict=True))
    print(f"largest difference {worst:.2e}, losses {curves[0][0]:.4f} to {curves[0][-1]:.4f}")
    assert worst < 1e-5
    assert min(curves[0]) < 0.9 * curves[0][0]  # it moved
    # batches and songs are shared out, and one rank alone writes
    assert len(final(ranks, sig)["rng"]) == 2
    assert len(list(ranks.runs.iterdir())) == 1
    assert final(ranks, sig)["history"][-1]["valid"]["nsdr"] == pytest.approx(
        final(alone, sig)["history"][-1]["valid"]["nsdr"], abs=1e-3
    )


@pytest.mark.timeout(400)
def test_ranks_stop_together_and_go_on_bit_equal(make_lab):
    undisturbed, stopped = make_lab("undisturbed"), make_lab("stopped")
    run = (*OPENUNMIX, "train.items=96", "ema.step=0.9", "misc.log_seconds=0.01")
    undisturbed.run(*RANKS, *run)
    sig = undisturbed.signature(*run)

    log = stopped.root / "log"
    launcher = stopped.start(*RANKS, *run, log=log)
    stopped.wait_until(lambda: "train 1/2 | 3/12" in log.read_text(), launcher, log)
    ranks = children(launcher.pid)
    assert len(ranks) == 2
    launcher.terminate()  # Dora's launcher ends at once, and tells its ranks nothing
    launcher.wait()
    wait_until_gone(ranks)
    assert "writing a checkpoint" in log.read_text()
    place = final(stopped, sig)
    assert 0 < place["epoch"] * 12 + place["step"] < 24

    second = stopped.run(*RANKS, *run)
    assert "Resuming after" in second
    expected, resumed = final(undisturbed, sig), final(stopped, sig)
    for name, tensor in expected["model"].items():
        assert torch.equal(resumed["model"][name], tensor), name
    for one, other in zip(resumed["history"], expected["history"], strict=True):
        assert one["train"]["loss"] == other["train"]["loss"]
        assert one["valid"]["nsdr"] == other["valid"]["nsdr"]


def processes_in(folder):
    """Return the pids of the processes that work in a lab, but for the loaders' workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                same = os.readlink(entry / "cwd") == str(folder)
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it has just ended
            if same:
                found.append((int(entry.name), parent))
    pids = {pid for pid, _ in found}
    ranks = {pid for pid, parent in found if parent in pids}
    return [pid for pid, parent in found if parent not in ranks]


def wait_until_gone(pids, seconds=60):
    end = time.monotonic() + seconds
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_a_killed_rank_ends_the_run_and_a_second_start_is_refused(lab):
    run = (*OPENUNMIX, "train.items=8000", "misc.checkpoint_steps=1")
    sig = lab.signature(*run)
    log = lab.root / "log"
    launcher = lab.start(*RANKS, *run, log=log)
    lab.wait_until((lab.runs / sig / "checkpoint.th").exists, launcher, log)

    refused = lab.run(*RANKS, *run, status=1)
    assert "this run is being trained by another process" in refused
    assert "Traceback" not in refused
    assert launcher.poll() is None  # and the first goes on
    assert len(processes_in(lab.root)) == 3  # of the second nothing is left

    ranks = children(launcher.pid)
    os.kill(ranks[1], signal.SIGKILL)
    started = time.monotonic()
    assert launcher.wait(60) == 1
    print(f"ended {time.monotonic() - started:.1f} s after a rank was killed")
    wait_until_gone(ranks)
    text = log.read_text()
    assert "another process of this run ended" in text
    assert "Traceback" not in text
    assert final(lab, sig)["step"] > 0
    assert not list((lab.runs / sig).glob(".checkpoint*"))
