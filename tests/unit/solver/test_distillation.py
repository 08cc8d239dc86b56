"""A solver whose targets are taught: what changes, and what must not."""

import pytest
import torch
from toy_solver import EPOCHS, STEPS, assert_same_end, final_state, losses, make, taught

from mss.solver.speed import AUTO, Speed


@pytest.mark.parametrize("teacher", ["snapshot", "ema"])
def test_with_alpha_0_a_run_is_the_undistilled_one_bit_for_bit(tmp_path, teacher):
    plain = make(tmp_path / "plain")
    plain.solver.run()
    off = make(tmp_path / "off", targets=taught(teacher=teacher, alpha=0.0))
    off.solver.run()
    assert_same_end(off.solver, plain.solver)


@pytest.mark.parametrize("teacher", ["snapshot", "ema"])
def test_a_run_that_finds_out_its_parts_ends_as_one_that_is_told_them(tmp_path, teacher):
    """The trial leaves teacher, weights and generators alone, wherever the run starts."""
    runs = {}
    for name, parts in (("told", 1), ("found", AUTO)):
        values = {"targets": taught(teacher=teacher), "speed": Speed(parts)}
        killed = make(tmp_path / name, fail_at=(1, 2), **values)
        with pytest.raises(KeyboardInterrupt):
            killed.solver.run()
        runs[name] = make(tmp_path / name, **values)
        runs[name].solver.run()
    assert_same_end(runs["found"].solver, runs["told"].solver)


def test_a_teacher_changes_every_epoch_but_the_first(tmp_path):
    plain = make(tmp_path / "plain", dropout=0.0)
    pskd = make(tmp_path / "pskd", dropout=0.0, targets=taught(alpha=0.8))
    for made in (plain, pskd):
        made.solver.run()
    one, other = losses(plain.solver.history), losses(pskd.solver.history)
    assert one[0] == other[0]
    assert all(a != b for a, b in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize("teacher", ["snapshot", "ema"])
@pytest.mark.parametrize("place", [(0, 2), (1, 0), (1, 3), (EPOCHS - 1, STEPS - 1)])
def test_a_killed_run_resumes_bit_equal(tmp_path, teacher, place):
    targets = taught(teacher=teacher, alpha=0.8)
    undisturbed = make(tmp_path / "undisturbed", targets=targets)
    undisturbed.solver.run()
    killed = make(tmp_path / "killed", fail_at=place, targets=targets)
    with pytest.raises(KeyboardInterrupt):
        killed.solver.run()
    resumed = make(tmp_path / "killed", targets=targets)
    resumed.solver.run()
    assert_same_end(resumed.solver, undisturbed.solver)
    teachers = [made.solver.parts.targets.state_dict()["pskd"] for made in (resumed, undisturbed)]
    (kind,) = teachers[0]
    for name, tensor in teachers[0][kind].items():
        assert torch.equal(tensor, teachers[1][kind][name]), name


def test_the_snapshot_is_the_model_of_the_epochs_end(tmp_path):
    made = make(tmp_path, targets=taught())
    made.solver.run()
    state = made.solver.parts.targets.state_dict()["pskd"]["model"]
    assert torch.equal(state["gains"], final_state(made.solver)["gains"])


def test_the_falling_rate_alone_is_what_pskd_does_to_a_gradient(tmp_path):
    """schedule.fade falls as 1 - alpha_t, by epochs, from the second on."""
    from mss.solver.schedule import Constant, FadingConfig

    made = make(tmp_path, schedule=(Constant, FadingConfig(fade=0.8)), lr=0.1)
    rates = []
    step = made.solver.parts.schedule.on_step

    def on_step():
        rates.append(made.solver.parts.schedule.rate)
        step()

    made.solver.parts.schedule.on_step = on_step
    made.solver.run()
    expected = [0.1] * STEPS
    for epoch in range(1, EPOCHS):
        expected += [0.1 * (1 - 0.8 * (epoch + 1) / EPOCHS)] * STEPS
    assert rates == pytest.approx(expected)
