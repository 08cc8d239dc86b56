"""The loop itself: it learns, stops on nonsense, and a killed run ends as an undisturbed one."""

import math
import time
from pathlib import Path

import pytest
import torch
from toy_solver import BATCH, EPOCHS, STEPS, Loss, Made, assert_same_end, batches, losses, make, mse

from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.distill.references import References
from mss.solver import guards
from mss.solver.checkpoint import save_checkpoint
from mss.solver.ema import EmaConfig
from mss.solver.errors import TrainingError
from mss.solver.schedule import Cosine, CosineConfig, Plateau, PlateauConfig
from mss.solver.solver import Solver, TrainConfig


def test_it_learns_and_tests_the_best(tmp_path):
    made = make(tmp_path)
    history = made.solver.run()
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert losses(history)[-1] < losses(history)[0]
    best = max(epoch["valid"]["score"] for epoch in history)
    assert made.solver.best["value"] == best == history[-1]["test"]["score"]
    assert made.link.history == history


def test_the_tested_weights_are_the_best_and_the_trained_ones_come_back(tmp_path):
    epochs = iter(range(EPOCHS))
    made = make(tmp_path, ema=EmaConfig(), validate=lambda model: {"score": -next(epochs)})
    first, trained = [], []
    commit, test = made.solver._commit, made.solver._test

    def keep_first():
        first.append(made.solver.model.gains.detach().clone())
        commit()

    def keep_trained():
        trained.append(made.solver.model.gains.detach().clone())
        return test()

    made.solver._commit, made.solver._test = keep_first, keep_trained
    history = made.solver.run()
    assert made.solver.best["epoch"] == 1
    assert history[-1]["test"]["gain"] == first[0][0].item()
    assert not torch.equal(trained[0], first[0])
    assert torch.equal(made.solver.model.gains, trained[0])


@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("fail_at", [(0, 1), (0, 3), (1, 0), (1, 2), (2, 3)])
def test_a_killed_run_ends_bit_equal_to_an_undisturbed_one(tmp_path, fail_at, every):
    undisturbed = make(tmp_path / "a")
    undisturbed.solver.run()
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "b", fail_at=fail_at, every=every).solver.run()
    torch.manual_seed(12345)  # whatever a new process starts with must not matter
    resumed = make(tmp_path / "b", every=every)
    assert (resumed.solver.epoch, resumed.solver.step) == (fail_at[0], fail_at[1] * every)
    resumed.solver.run()
    assert_same_end(resumed.solver, undisturbed.solver)


def test_a_run_killed_while_it_validates_ends_bit_equal(tmp_path):
    undisturbed = make(tmp_path / "a")
    undisturbed.solver.run()
    calls = iter(range(100))
    killed = make(tmp_path / "b")
    score = killed.solver.parts.validate

    def validate(model, full):
        if next(calls) == 4:  # raw, step, epoch; raw, step
            raise KeyboardInterrupt
        return score(model, full)

    killed.solver.parts.validate = validate
    with pytest.raises(KeyboardInterrupt):
        killed.solver.run()
    resumed = make(tmp_path / "b")
    assert (resumed.solver.epoch, resumed.solver.step) == (1, STEPS - 1)
    resumed.solver.run()
    assert_same_end(resumed.solver, undisturbed.solver)


def killed_in(folder: Path, fail_at=(1, 2), **other) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(folder, fail_at=fail_at, **other).solver.run()


def test_accepted_changes_count_from_the_checkpoint_on(tmp_path):
    killed_in(tmp_path)
    lower = (Cosine, CosineConfig(warmup_steps=0, final=0.5))
    solver = make(tmp_path, lr=0.01, schedule=lower, epochs=5, metric="loss2").solver
    done, steps = STEPS + 2, 5 * STEPS
    share = 0.5 + 0.5 * (1 + math.cos(math.pi * done / steps)) / 2
    assert solver.parts.optim.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * share)
    assert solver.best is None  # another metric chose it
    solver.parts.validate = lambda model, full: {"loss2": 1.0}
    assert len(solver.run()) == 5
    assert solver.best["metric"] == "loss2"
    assert solver.best["epoch"] == 2


def test_a_finished_run_made_longer_is_tested_again(tmp_path):
    make(tmp_path).solver.run()
    history = make(tmp_path, epochs=4).solver.run()
    assert ["test" in epoch for epoch in history] == [False, False, True, True]


def test_a_finished_run_can_not_choose_its_best_anew(tmp_path):
    make(tmp_path).solver.run()
    with pytest.raises(ConfigError, match=r"chosen by score, not by other; restore valid\.metric"):
        make(tmp_path, metric="other")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"sources": ("a", "b", "c")}, r"model: gains is \[2\] in the checkpoint, now \[3\]"),
        ({"ema": EmaConfig(step=0.5)}, r"ema \(averages\): .*'ema_epoch'.* now \['ema_step'\]"),
        ({"schedule": (Plateau, PlateauConfig())}, r"schedule\.name: 'cosine' .*now 'plateau'"),
        (
            {"targets": {"first": References(TargetMap.make(None, ("a", "b")))}},
            r"distill \(target providers\): \['references'\] .*now \['first'\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_a_config_error(tmp_path, other, named):
    killed_in(tmp_path)
    with pytest.raises(ConfigError, match=rf"{named}(.|\n)*can't change.*start a new run"):
        make(tmp_path, **other)
    make(tmp_path)  # the refused one has let go of the folder


def test_a_provider_that_can_not_take_its_state_is_a_config_error(tmp_path):
    class Stateful(References):
        def state_dict(self):
            return {"teacher": torch.zeros(1)}

        def load_state_dict(self, state):
            raise RuntimeError("size mismatch")

    targets = {"references": Stateful(TargetMap.make(None, ("a", "b")))}
    killed_in(tmp_path, targets=targets)
    with pytest.raises(ConfigError, match=r"does not fit the run:\n.*size mismatch"):
        make(tmp_path, targets=targets)


def test_a_checkpoint_that_lacks_something_is_a_data_error(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.th", {"model": {}})
    with pytest.raises(DataError, match="lacks optim, schedule"):
        make(tmp_path)


def test_half_checkpoints_of_a_killed_process_go(tmp_path):
    half = tmp_path / ".checkpoint.th.x1y2.th"
    half.touch()
    make(tmp_path)
    assert not half.exists()


def test_run_needs_resume(tmp_path):
    with pytest.raises(AssertionError, match="resume"):
        make(tmp_path, resume=False).solver.run()


def test_the_seconds_of_a_resumed_epoch_are_those_of_all_of_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(made: Made) -> Solver:
        read = made.solver.parts.batches

        def batches(epoch, first):
            for batch in read(epoch, first):
                now[0] += 10.0
                yield batch

        def loss(estimate, target):
            now[0] += 5.0
            return mse(estimate, target)

        made.solver.parts.batches = batches
        made.solver.updater.loss = Loss(loss)
        return made.solver

    with pytest.raises(KeyboardInterrupt):
        slow(make(tmp_path, fail_at=(0, 3))).run()
    train = slow(make(tmp_path)).run()[0]["train"]
    assert (train["seconds"], train["data_wait"]) == (STEPS * 15.0, STEPS * 10.0)
    assert train["segments_per_second"] == round(BATCH / 15, 2)


def test_the_schedule_hears_the_loss_of_the_weights_in_training(tmp_path):
    made = make(tmp_path)
    heard = []
    made.solver.parts.schedule.on_epoch = heard.append
    raw = made.solver.model
    made.solver.parts.validate = lambda model, full: (
        {"score": 0.0, "loss": 3.0} if model is raw else {"score": 1.0, "loss": 1.0}
    )
    history = made.solver.run()
    assert heard == [3.0] * EPOCHS
    assert history[0]["valid"]["origin"] != "raw"


def test_a_run_killed_before_its_test_is_tested_when_it_comes_back(tmp_path):
    made = make(tmp_path)

    def killed(model):
        raise KeyboardInterrupt

    made.solver.parts.test = killed
    with pytest.raises(KeyboardInterrupt):
        made.solver.run()
    assert "test" in make(tmp_path).solver.run()[-1]


def test_a_finished_run_does_nothing_more(tmp_path):
    expected = make(tmp_path).solver.run()
    again = make(tmp_path, fail_at=(0, 0))
    assert again.solver.run() == expected


@pytest.mark.parametrize(
    ("factor", "cause"),
    [(float("nan"), "weights diverged"), (float("inf"), "weights diverged"), (0.0, "exactly")],
)
def test_a_loss_that_teaches_nothing_stops_and_keeps_the_batch(tmp_path, factor, cause):
    def bad(estimate, target):
        return estimate.wave.square().mean() * 0 + factor

    with pytest.raises(TrainingError, match=rf"epoch 1, update 1: .*{cause}"):
        make(tmp_path, loss=bad).solver.run()
    saved = torch.load(tmp_path / "failed_batch.th", weights_only=True)
    assert torch.equal(saved["mix"], next(batches(0, 0)).mix)


def test_a_batch_that_can_not_be_saved_hides_no_cause(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(guards.torch, "save", full_disk)
    bad = lambda estimate, target: estimate.wave.sum() * float("nan")  # noqa: E731
    with pytest.raises(
        TrainingError, match=r"the loss is nan.*The batch could not be saved \(.*No space left"
    ):
        make(tmp_path, loss=bad).solver.run()


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path):
    def bad(estimate, target):
        return 1 + (estimate.wave * 0).sum().sqrt()  # its derivative is inf * 0

    made = make(tmp_path, loss=bad)
    before = made.solver.model.gains.detach().clone()
    with pytest.raises(
        TrainingError, match=r"epoch 1, update 1: the norm .* is nan.*loss is finite"
    ):
        made.solver.run()
    assert torch.equal(made.solver.model.gains.detach(), before)
    assert (tmp_path / "failed_batch.th").exists()


@pytest.mark.parametrize("segment", [0.0, float("nan")])
def test_a_segment_that_is_none_is_refused(segment):
    with pytest.raises(ConfigError, match=r"train\.segment"):
        TrainConfig(epochs=1, items=2, batch_size=1, segment=segment)


def test_a_missing_or_infinite_metric_stops(tmp_path):
    with pytest.raises(TrainingError, match=r"valid\.metric: the validation gave no 'other'"):
        make(tmp_path / "a", metric="other").solver.run()
    with pytest.raises(TrainingError, match=r"valid\.metric: score is nan"):
        make(tmp_path / "b", validate=lambda model: {"score": float("nan")}).solver.run()
