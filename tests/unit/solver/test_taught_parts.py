"""A teacher's memory counts where the number of parts is found out, and its lack is told."""

import copy

import pytest
import torch
from toy_run import SPEC, STEMS, references, surroundings, toy_batch, unlabelled_batch
from toy_separator import ToyConfig, ToySeparator

from mss.core.targets import TargetMap
from mss.core.types import Progress
from mss.distill import teacher as teacher_module
from mss.distill.base import TargetChain
from mss.distill.progressive import ProgressiveConfig, ProgressiveDistillation
from mss.distill.references import References
from mss.distill.teacher import TeacherConfig, TeacherDistillation
from mss.distill.unlabelled import MeanTeacher, MeanTeacherConfig, RemixIt, RemixItConfig
from mss.losses.waveform import L1Loss, WaveformLossConfig
from mss.solver.errors import TrainingError
from mss.solver.optim import Adam, OptimConfig
from mss.solver.precision import Precision
from mss.solver.speed import AUTO, Speed
from mss.solver.update import Updater

ITEMS = 8
FIRST, LATE = Progress(0, 10), Progress(9, 10)


class Limited(ToySeparator):
    """Its pretended memory holds so many items at once."""

    def __init__(self, fits: int = ITEMS) -> None:
        super().__init__(ToyConfig(), SPEC)
        self.fits = fits

    def network(self, *inputs):
        if len(inputs[0]) > self.fits:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        return super().network(*inputs)


class Released:
    """Stands for a released model."""

    name, digest, taught_digest, taught = "released", "d", "t", STEMS

    def __init__(self, *args) -> None:
        del args
        self.model = Limited()

    def __call__(self, mix):
        with torch.no_grad():
            return self.model(mix).wave


def remixit(run):
    return RemixIt(RemixItConfig(), run)


def mean_teacher(run):
    return MeanTeacher(MeanTeacherConfig(), run)


def pskd(teacher):
    return lambda run: ProgressiveDistillation(ProgressiveConfig(teacher=teacher), run)


def released(run):
    return TeacherDistillation(TeacherConfig(model="released"), run)


KINDS = {
    "snapshot": pskd("snapshot"),
    "ema": pskd("ema"),
    "remixit": remixit,
    "mean_teacher": mean_teacher,
    "teacher": released,
}


def network_of(kind, provider, run):
    """The teacher's network; of a snapshot that is not there yet, the one it will be a copy of."""
    if kind == "teacher":
        return provider.teacher.model
    if kind == "snapshot":
        return run.model
    return (provider.own if kind == "ema" else provider.teacher)._average.module


def made(kind, fits, monkeypatch, accumulate=AUTO, ready=False):
    """An updater of a student that fits, taught by a teacher of which `fits` items do."""
    monkeypatch.setattr(teacher_module, "ReleasedTeacher", Released)
    run = surroundings(model=Limited(), parts=accumulate or ITEMS, fixed_crops=True)
    provider = KINDS[kind](run)
    network_of(kind, provider, run).fits = fits
    if ready:
        provider.on_step(run.model)
        provider.on_epoch_end(run.model)
    chain = TargetChain({"references": References(TargetMap.make({}, STEMS)), kind: provider})
    model = Limited()
    optim = Adam(OptimConfig(), model.parameters())
    loss = L1Loss(WaveformLossConfig(), STEMS)
    precision = Precision("float32", torch.device("cpu"))
    return Updater(model, loss, optim, precision, Speed(accumulate), chain), provider, run


@pytest.fixture(autouse=True)
def here(cache_folder):
    """The estimates that are kept lie in a folder of the test's own."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fits", "parts"), [(8, 1), (4, 2), (3, 4), (1, 8)])
def test_the_parts_are_as_many_as_the_teacher_needs(kind, fits, parts, monkeypatch):
    """Also in the first epoch, in which some do not teach yet."""
    updater, provider, run = made(kind, fits, monkeypatch)
    updater.target(unlabelled_batch(4, 4), FIRST)
    assert updater.parts == parts
    provider.on_step(run.model)
    provider.on_epoch_end(run.model)
    batch = unlabelled_batch(0, ITEMS, seed=9)
    before = references(batch)
    target = updater.target(batch, LATE)  # it fits: in as many parts
    assert not torch.equal(target.sources, before.sources)


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_leaves_no_trace(kind, monkeypatch, cache_folder):
    torch.manual_seed(3)
    updater, provider, run = made(kind, 2, monkeypatch, ready=kind == "ema")
    state, generator = copy.deepcopy(provider.state_dict()), torch.get_rng_state()
    batch = toy_batch(ITEMS)
    updater._find_parts(batch, references(batch))
    assert torch.equal(torch.get_rng_state(), generator)
    found = provider.state_dict()
    assert found.keys() == state.keys()  # a snapshot that was not there is not
    for key, tensor in state.get("average", {}).items():
        assert torch.equal(found["average"][key], tensor)
    assert not any(cache_folder.rglob("*.npy"))
    assert all(parameter.grad is None for parameter in run.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_knows_its_parts_has_the_target_of_one_that_finds_them(kind, monkeypatch):
    """So a resume, which finds them anew, is exact."""
    batch, targets = unlabelled_batch(4, 4), []
    for accumulate in (AUTO, 4):
        updater, _, _ = made(kind, 2, monkeypatch, accumulate, ready=True)
        targets.append(updater.target(batch, LATE))
        assert updater.parts == 4
    assert torch.equal(targets[0].sources, targets[1].sources)
    assert torch.equal(targets[0].mix, targets[1].mix)


def test_a_teacher_that_does_not_fit_is_told_with_what_to_change(monkeypatch):
    for accumulate, parts in ((2, "2 now"), (AUTO, "a segment each now")):
        updater, _, _ = made("teacher", 0, monkeypatch, accumulate)
        with pytest.raises(TrainingError, match=rf"the teacher of this batch .*\({parts}\)"):
            updater.target(toy_batch(ITEMS), FIRST)
