"""What the checkpoint of a run in a lab holds, for tests of resumes."""

import time

import torch


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
