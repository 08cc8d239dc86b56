"""A solver of a toy model and toy data, which trains in milliseconds."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mss.core import distrib
from mss.core.rng import torch_generator
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch, Estimate, LossReport
from mss.distill.base import TargetChain
from mss.distill.progressive import ProgressiveConfig, ProgressiveDistillation
from mss.distill.references import References
from mss.distill.silent_stem import SilentStem, SilentStemConfig
from mss.distill.surroundings import Surroundings
from mss.losses.waveform import L1Loss, WaveformLossConfig
from mss.solver.ema import Ema, EmaConfig
from mss.solver.optim import Adam, OptimConfig
from mss.solver.schedule import Cosine, CosineConfig
from mss.solver.solver import Parts, RunOptions, Solver, TrainConfig, ValidConfig
from mss.solver.speed import Speed

SPEC = AudioSpec(("a", "b"), samplerate=100, channels=1)
EPOCHS, STEPS, BATCH = 3, 4, 2
GOAL = torch.tensor([0.8, 0.2])


class Gains(Separator):
    """Each source is the mix times a learned gain; dropout makes it use the global generator."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec, dropout: float = 0.3) -> None:
        super().__init__(config, spec)
        self.gains = torch.nn.Parameter(torch.zeros(len(spec.sources)))
        self.dropout = torch.nn.Dropout(dropout)

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
        trust = torch.ones(BATCH, 2)
        trust[1, 1] = float(step % 2 == 0)  # the shares of two ranks know unequally much
        own = own_share()
        yield Batch(noise.sum(1)[own], noise[own], ("a", "b"), trust[own])


def own_share() -> slice:
    """Return which items of a batch are this rank's."""
    share = BATCH // distrib.world_size()
    return slice(distrib.rank() * share, (distrib.rank() + 1) * share)


def recorded_batches(epoch: int, first: int):
    """Yield batches whose last item is, every other time, a stem on top of a recording.

    With two ranks, the first one never meets a recording.
    """
    for step in range(first, STEPS):
        stems = torch.randn(BATCH, 2, 1, 50, generator=torch_generator("data", epoch, step))
        trust, rest = torch.ones(BATCH, 2), torch.zeros(BATCH, 1, 50)
        if step % 2:
            rest[1], trust[1, 1] = stems[1, 1], 0
            stems[1, 1] = 0
        own = own_share()
        heard = rest[own] if rest[own].any() else None
        yield Batch((stems.sum(1) + rest)[own], stems[own], ("a", "b"), trust[own], heard)


class Loss:
    """A mean over the labelled items and sources, from a function of (estimate, target)."""

    def __init__(self, function) -> None:
        self.function = function

    def __call__(self, estimate: Estimate, target) -> LossReport:
        return LossReport(self.function(estimate, target))

    def weight(self, target) -> torch.Tensor:
        return target.weight.sum()

    def on_epoch(self, epoch: int) -> None:
        pass


def mse(estimate: Estimate, target) -> torch.Tensor:
    errors = (estimate.wave - target.sources).square().mean(dim=(2, 3))
    return (errors * target.weight).sum() / target.weight.sum()


@dataclass
class Made:
    solver: Solver
    link: SimpleNamespace


def make(
    folder: Path, fail_at=None, loss=mse, metric="score", validate=None, resume=True, **other
) -> Made:
    """Build a solver; `other`: sources, lr, ema, schedule, targets (or a function from the model to
    them), batches, whole_loss (instead of a function), epochs, every, valid, ..."""
    torch.manual_seed(0)
    names = other.get("sources", ("a", "b"))
    spec = AudioSpec(names, samplerate=100, channels=1)
    model = Gains(SeparatorConfig(), spec, other.get("dropout", 0.3))
    optim = Adam(OptimConfig(lr=other.get("lr", 0.05)), model.parameters())
    link = SimpleNamespace(history=[])
    link.update_history = lambda history: link.history.__setitem__(slice(None), history)
    epochs = other.get("epochs", EPOCHS)
    schedule, config = other.get("schedule", (Cosine, CosineConfig(warmup_steps=2)))
    links = other.get("targets", {"references": References(TargetMap.make(None, names))})

    def score(model):
        return {"score": -(model.gains.detach()[:2] - GOAL).square().sum().item()}

    parts = Parts(
        model=model,
        augment=lambda batch, epoch, step: batch,
        targets=TargetChain(links(model) if callable(links) else links),
        loss=other.get("whole_loss") or Loss(loss),
        optim=optim,
        schedule=schedule(config, optim.optimizer, epochs * STEPS, epochs),
        ema=Ema(other.get("ema", EmaConfig(step=0.5, epoch=0.5)), model),
        batches=other.get("batches") or (lambda epoch, first: batches(epoch, first, fail_at)),
        validate=lambda model, full: (validate or score)(model),
        test=lambda model: {"score": score(model)["score"], "gain": model.gains[0].item()},
        metric=metric,
        higher_is_better=True,
    )
    config = TrainConfig(epochs=epochs, items=STEPS * BATCH, batch_size=BATCH)
    options = RunOptions(
        folder, torch.device("cpu"), other.get("every", 1), False, speed=other.get("speed", Speed())
    )
    valid = other.get("valid", ValidConfig(metric=metric))
    made = Made(Solver(parts, config, valid, options, link, other.get("stop")), link)
    if resume:
        made.solver.resume()
    return made


def taught(folder: Path = Path("run"), **config):
    """Return the function from a model to the links of a PS-KD run."""

    def links(model: Separator):
        targets = TargetMap.make(None, ("a", "b"))
        run = Surroundings(model, targets, ("a", "b"), folder, STEPS * BATCH, 50)
        return {
            "references": References(targets),
            "pskd": ProgressiveDistillation(ProgressiveConfig(**config), run),
        }

    return links


def with_recordings() -> dict[str, Any]:
    """Return what `make` takes for a run that hears recordings in which a stem is silent."""

    def links(model: Separator):
        targets = TargetMap.make(None, ("a", "b"))
        run = Surroundings(model, targets, ("a", "b"), Path("run"), STEPS * BATCH, 50)
        provider = SilentStem(SilentStemConfig(weight=0.5), run)
        return {"references": References(targets), "silent_stem": provider}

    loss = L1Loss(WaveformLossConfig(), ("a", "b"))
    return {"targets": links, "batches": recorded_batches, "whole_loss": loss}


def final_state(solver: Solver) -> dict[str, torch.Tensor]:
    averaged = {
        f"{name}.{key}": tensor
        for name, model in solver.parts.ema.candidates().items()
        for key, tensor in model.state_dict().items()
    }
    return {**solver.model.state_dict(), **averaged}


def losses(history):
    return [epoch["train"]["loss"] for epoch in history]


def assert_same_end(resumed: Solver, undisturbed: Solver) -> None:
    for key, tensor in final_state(undisturbed).items():
        assert torch.equal(tensor, final_state(resumed)[key]), key
    assert losses(resumed.history) == losses(undisturbed.history)
    rates = [[epoch["train"]["lr"] for epoch in s.history] for s in (resumed, undisturbed)]
    assert rates[0] == rates[1]
    assert resumed.best["value"] == undisturbed.best["value"]
