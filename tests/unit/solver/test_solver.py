"""The loop itself: it learns, stops on nonsense, and a killed run ends as an undisturbed one."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mss.core.errors import ConfigError, DataError
from mss.core.rng import torch_generator
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch, Estimate, LossReport
from mss.distill.base import TargetChain
from mss.distill.references import References
from mss.solver import guards
from mss.solver.checkpoint import save_checkpoint
from mss.solver.ema import Ema, EmaConfig
from mss.solver.errors import TrainingError
from mss.solver.optim import Adam, OptimConfig
from mss.solver.schedule import Cosine, CosineConfig, Plateau, PlateauConfig
from mss.solver.solver import Parts, RunOptions, Solver, TrainConfig

SPEC = AudioSpec(("a", "b"), samplerate=100, channels=1)
EPOCHS, STEPS, BATCH = 3, 4, 2
GOAL = torch.tensor([0.8, 0.2])


class Gains(Separator):
    """Each source is the mix times a learned gain; dropout makes it use the global generator."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gains = torch.nn.Parameter(torch.zeros(len(spec.sources)))
        self.dropout = torch.nn.Dropout(0.3)

    def analyse(self, mix):
        return Features((mix,))

    def network(self, *inputs):
        (mix,) = inputs
        return (self.dropout(self.gains[None, :, None, None] * mix[:, None]),)

    def synthesise(self, features, outputs):
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec):
        return cls(SeparatorConfig(), spec)


def batches(epoch: int, first: int, fail_at: tuple[int, int] | None = None):
    torch.rand(3)  # a loader may draw as it starts
    for step in range(first, STEPS):
        if fail_at == (epoch, step):
            raise KeyboardInterrupt
        noise = torch.randn(BATCH, 2, 1, 50, generator=torch_generator("data", epoch, step))
        noise[:, 1] *= 0.5
        yield Batch(noise.sum(1), noise, ("a", "b"), torch.ones(BATCH, 2, dtype=torch.bool))


def l2(estimate: Estimate, target) -> LossReport:
    return LossReport((estimate.wave - target.sources).square().mean())


@dataclass
class Made:
    solver: Solver
    link: SimpleNamespace


def make(
    folder: Path, fail_at=None, loss=l2, metric="score", validate=None, resume=True, **other
) -> Made:
    """Build a solver; `other`: sources, lr, ema, schedule, targets, epochs, every."""
    torch.manual_seed(0)
    names = other.get("sources", ("a", "b"))
    model = Gains(SeparatorConfig(), AudioSpec(names, samplerate=100, channels=1))
    optim = Adam(OptimConfig(lr=other.get("lr", 0.05)), model.parameters())
    link = SimpleNamespace(history=[])
    link.update_history = lambda history: link.history.__setitem__(slice(None), history)
    epochs = other.get("epochs", EPOCHS)
    schedule, config = other.get("schedule", (Cosine, CosineConfig(warmup_steps=2)))
    references = {"references": References(TargetMap.make(None, names))}

    def score(model):
        return {"score": -(model.gains.detach()[:2] - GOAL).square().sum().item()}

    parts = Parts(
        model=model,
        augment=lambda batch, epoch, step: batch,
        targets=TargetChain(other.get("targets", references)),
        loss=loss,
        optim=optim,
        schedule=schedule(config, optim.optimizer, epochs * STEPS),
        ema=Ema(other.get("ema", EmaConfig(step=0.5, epoch=0.5)), model),
        batches=lambda epoch, first: batches(epoch, first, fail_at),
        validate=validate or score,
        test=lambda model: {"score": score(model)["score"], "gain": model.gains[0].item()},
        metric=metric,
        higher_is_better=True,
    )
    config = TrainConfig(epochs=epochs, items=STEPS * BATCH, batch_size=BATCH)
    options = RunOptions(folder, torch.device("cpu"), other.get("every", 1), progress=False)
    made = Made(Solver(parts, config, options, link), link)
    if resume:
        made.solver.resume()
    return made


def final_state(solver: Solver) -> dict[str, torch.Tensor]:
    averaged = {
        f"{name}.{key}": tensor
        for name, model in solver.parts.ema.candidates().items()
        for key, tensor in model.state_dict().items()
    }
    return {**solver.model.state_dict(), **averaged}


def losses(history):
    return [epoch["train"]["loss"] for epoch in history]


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


def assert_same_end(resumed: Solver, undisturbed: Solver) -> None:
    for key, tensor in final_state(undisturbed).items():
        assert torch.equal(tensor, final_state(resumed)[key]), key
    assert losses(resumed.history) == losses(undisturbed.history)
    rates = [[epoch["train"]["lr"] for epoch in s.history] for s in (resumed, undisturbed)]
    assert rates[0] == rates[1]
    assert resumed.best["value"] == undisturbed.best["value"]


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

    def validate(model):
        if next(calls) == 4:  # raw, step, epoch; raw, step
            raise KeyboardInterrupt
        return score(model)

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
    solver.parts.validate = lambda model: {"loss2": 1.0}
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


def test_one_process_a_run_until_it_ends(tmp_path):
    first = make(tmp_path)
    with pytest.raises(ConfigError, match="trained by another process"):
        make(tmp_path)
    first.solver.run()
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
            return l2(estimate, target)

        made.solver.parts.batches, made.solver.parts.loss = batches, loss
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
    made.solver.parts.validate = lambda model: (
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
        return LossReport(estimate.wave.square().mean() * 0 + factor)

    with pytest.raises(TrainingError, match=rf"epoch 1, update 1: .*{cause}"):
        make(tmp_path, loss=bad).solver.run()
    saved = torch.load(tmp_path / "failed_batch.th", weights_only=True)
    assert torch.equal(saved["mix"], next(batches(0, 0)).mix)


def test_a_batch_that_can_not_be_saved_hides_no_cause(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(guards.torch, "save", full_disk)
    bad = lambda estimate, target: LossReport(estimate.wave.sum() * float("nan"))  # noqa: E731
    with pytest.raises(
        TrainingError, match=r"the loss is nan.*The batch could not be saved \(.*No space left"
    ):
        make(tmp_path, loss=bad).solver.run()


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path):
    def bad(estimate, target):
        return LossReport(1 + (estimate.wave * 0).sum().sqrt())  # its derivative is inf * 0

    made = make(tmp_path, loss=bad)
    before = made.solver.model.gains.detach().clone()
    with pytest.raises(TrainingError, match=r"epoch 1, update 1: the norm .* is nan.*loss is 1\b"):
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
