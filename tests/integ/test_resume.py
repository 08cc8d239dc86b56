"""A killed run, taken up again, ends with the weights of an undisturbed one."""

import random
import time

import pytest
import torch

pytestmark = pytest.mark.integ

RUN = (
    "dset=demo_tiny",
    "model=openunmix_tiny",
    "model.hidden_size=32",
    "variant=debug",
    "train.items=24",  # six updates an epoch
    "ema.step=0.9",
    "misc.threads=1",
    "misc.checkpoint_steps=1",
)


def final(lab, sig):
    return torch.load(lab.runs / sig / "checkpoint.th", weights_only=True)


def wait_for_updates(lab, sig, count, process):
    """Wait until the run's checkpoint holds `count` updates."""
    path = lab.runs / sig / "checkpoint.th"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, "the run ended before it could be killed"
        if path.exists():
            state = torch.load(path, weights_only=True)
            if state["epoch"] * 6 + state["step"] >= count:
                return
        time.sleep(0.01)
    raise AssertionError("no such checkpoint in two minutes")


@pytest.mark.timeout(400)
def test_kill_9_at_a_random_step_and_another_number_of_workers(make_lab):
    undisturbed, killed = make_lab("undisturbed"), make_lab("killed")
    undisturbed.train(*RUN, "misc.workers=0")
    sig = undisturbed.signature(*RUN)
    expected = final(undisturbed, sig)

    after = random.randrange(1, 11)
    print(f"killed after {after} of 12 updates")
    log = killed.root / "log"
    process = killed.start("dora", "-P", "mss", "run", *RUN, "misc.workers=1", log=log)
    wait_for_updates(killed, sig, after, process)
    process.kill()
    process.wait()
    assert final(killed, sig)["epoch"] < 2
    text = killed.train(*RUN, "misc.workers=2")
    assert "Resuming after" in text

    resumed = final(killed, sig)
    assert resumed["epoch"] == expected["epoch"] == 2
    for part in ("model", "ema", "optim"):
        assert_equal(resumed[part], expected[part], part)
    assert_equal(resumed["best"]["state"], expected["best"]["state"], "best")
    for one, other in zip(resumed["history"], expected["history"], strict=True):
        assert one["train"]["loss"] == other["train"]["loss"]
        assert one["valid"]["nsdr"] == other["valid"]["nsdr"]


def assert_equal(one, other, where):
    """Compare nested containers of tensors and plain values bit by bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}.{index}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where
