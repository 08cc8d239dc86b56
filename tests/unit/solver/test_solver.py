"""The loop itself: it learns, stops on nonsense, and a killed run ends as an undisturbed one."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mss.core.rng import torch_generator
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch, Estimate, LossReport
from mss.distill.base import TargetChain
from mss.distill.references import References
from mss.solver.ema import Ema, EmaConfig
from mss.solver.errors import TrainingError
from mss.solver.optim import Adam, OptimConfig
from mss.solver.schedule import Cosine, CosineConfig
from mss.solver.solver import Parts, RunOptions, Solver, TrainConfig

SPEC = AudioSpec(("a", "b"), samplerate=100, channels=1)
EPOCHS, STEPS, BATCH = 3, 4, 2


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


def make(folder: Path, fail_at=None, loss=l2, metric="score", validate=None) -> Made:
    torch.manual_seed(0)
    model = Gains(SeparatorConfig(), SPEC)
    optim = Adam(OptimConfig(lr=0.05), model.parameters())
    link = SimpleNamespace(history=[])
    link.update_history = lambda history: link.history.__setitem__(slice(None), history)

    def score(model):
        return {"score": -(model.gains.detach() - torch.tensor([0.8, 0.2])).square().sum().item()}

    parts = Parts(
        model=model,
        augment=lambda batch, epoch, step: batch,
        targets=TargetChain({"references": References(TargetMap.make(None, ("a", "b")))}),
        loss=loss,
        optim=optim,
        schedule=Cosine(CosineConfig(warmup_steps=2), optim.optimizer, EPOCHS * STEPS),
        ema=Ema(EmaConfig(step=0.5, epoch=0.5), model),
        batches=lambda epoch, first: batches(epoch, first, fail_at),
        validate=validate or score,
        test=lambda model: {"score": score(model)["score"], "gain": model.gains[0].item()},
        metric=metric,
        higher_is_better=True,
    )
    config = TrainConfig(epochs=EPOCHS, items=STEPS * BATCH, batch_size=BATCH)
    options = RunOptions(folder, torch.device("cpu"), checkpoint_steps=1, progress=False)
    return Made(Solver(parts, config, options, link), link)


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
    made = make(tmp_path)
    history = made.solver.run()
    best_gain = made.solver.best["state"]["gains"][0].item()
    assert history[-1]["test"]["gain"] == best_gain
    assert made.solver.model.gains[0].item() != best_gain or made.solver.best["origin"] == "raw"


@pytest.mark.parametrize("fail_at", [(0, 1), (0, 3), (1, 0), (1, 2), (2, 3)])
def test_a_killed_run_ends_bit_equal_to_an_undisturbed_one(tmp_path, fail_at):
    undisturbed = make(tmp_path / "a")
    expected = undisturbed.solver.run()
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "b", fail_at=fail_at).solver.run()
    torch.manual_seed(12345)  # whatever a new process starts with must not matter
    resumed = make(tmp_path / "b")
    history = resumed.solver.run()
    for key, tensor in final_state(undisturbed.solver).items():
        assert torch.equal(tensor, final_state(resumed.solver)[key]), key
    assert losses(history) == losses(expected)
    assert resumed.solver.best["value"] == undisturbed.solver.best["value"]


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


def test_a_missing_or_infinite_metric_stops(tmp_path):
    with pytest.raises(TrainingError, match=r"valid\.metric: the validation gave no 'other'"):
        make(tmp_path / "a", metric="other").solver.run()
    with pytest.raises(TrainingError, match=r"valid\.metric: score is nan"):
        make(tmp_path / "b", validate=lambda model: {"score": float("nan")}).solver.run()
