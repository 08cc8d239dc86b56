"""PS-KD: who teaches, on what, and from when on."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_run import STEMS, estimate, references, surroundings, toy_batch, toy_model

from mss.core.errors import ConfigError
from mss.core.targets import TargetMap
from mss.core.types import Progress
from mss.distill.progressive import ProgressiveConfig, ProgressiveDistillation
from mss.distill.teachers import Snapshot

EPOCHS = 10


def pskd(run=None, **config):
    return ProgressiveDistillation(ProgressiveConfig(**config), run or surroundings())


def moved(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_the_snapshot_teaches_on_the_mix_that_the_model_is_given():
    run = surroundings()
    provider = pskd(run, alpha=0.8)
    provider.on_epoch_end(run.model)
    teacher = toy_model()  # the weights of that moment
    moved(run.model, 0.5)  # training goes on
    batch = toy_batch()
    batch = replace(batch, stems=-2 * batch.stems, mix=-2 * batch.mix)  # as augmented
    target = provider(batch, references(batch), Progress(3, EPOCHS))
    alpha = 0.8 * 4 / EPOCHS
    expected = (1 - alpha) * batch.stems + alpha * estimate(teacher, batch.mix)
    torch.testing.assert_close(target.sources, expected)
    assert torch.equal(target.weight, torch.ones(4, 3))


def test_without_alpha_nobody_is_asked_and_the_target_is_the_one_that_came_in():
    provider = pskd(alpha=0.0)
    provider.on_epoch_end(toy_model())
    batch = toy_batch()
    before = references(batch)
    assert provider(batch, before, Progress(5, EPOCHS)) is before
    first = pskd(alpha=0.8)  # the first epoch has no teacher yet
    assert first(batch, before, Progress(0, EPOCHS)) is before


def test_the_teacher_gets_no_gradients_and_is_in_evaluation_mode():
    run = surroundings()
    for provider in (pskd(run), pskd(run, teacher="ema")):
        run.model.train()
        run.model(toy_batch().mix).wave.sum().backward()
        provider.on_step(run.model)
        provider.on_epoch_end(run.model)
        target = provider(toy_batch(), references(toy_batch()), Progress(2, EPOCHS))
        assert not target.sources.requires_grad
        loss = (run.model(toy_batch().mix).wave - target.sources).square().mean()
        loss.backward()
        assert provider.own is not None and provider.own.model is not None
        for parameter in provider.own.model.parameters():
            assert parameter.grad is None and not parameter.requires_grad
        assert not any(module.training for module in provider.own.model.modules())
        assert run.model.training


def test_the_average_is_that_of_the_updates():
    run = surroundings()
    provider = pskd(run, teacher="ema", decay=0.75, alpha=0.5)
    expected = None
    for _ in range(5):
        moved(run.model, 0.1)
        now = {name: value.clone() for name, value in run.model.state_dict().items()}
        expected = (
            now
            if expected is None
            else {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
        )
        provider.on_step(run.model)
    teacher = toy_model()
    teacher.load_state_dict(expected)
    batch = toy_batch()
    target = provider(batch, references(batch), Progress(1, 2))
    mixed = 0.5 * batch.stems + 0.5 * estimate(teacher, batch.mix)
    torch.testing.assert_close(target.sources, mixed)


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_a_resumed_run_is_taught_the_same(kind):
    run = surroundings()
    provider = pskd(run, teacher=kind)
    moved(run.model, 0.2)
    provider.on_step(run.model)
    provider.on_epoch_end(run.model)
    moved(run.model, 0.3)
    resumed = pskd(surroundings(model=toy_model(5)), teacher=kind)
    resumed.load_state_dict(provider.state_dict())
    batch, at = toy_batch(), Progress(4, EPOCHS)
    before = provider(batch, references(batch), at).sources
    assert torch.equal(resumed(batch, references(batch), at).sources, before)
    assert not torch.equal(before, batch.stems)
    # and what comes after does not change what the first one learned from
    moved(run.model, 1.0)
    assert torch.equal(provider(batch, references(batch), at).sources, before)


def test_before_its_first_epoch_there_is_nothing_to_keep():
    provider = pskd()
    assert provider.state_dict() == {}
    provider.load_state_dict({})
    assert provider.own is not None and not provider.own.ready


def test_parts_of_a_batch_are_taught_as_the_whole():
    whole, parts = (Snapshot(surroundings(parts=count)) for count in (1, 3))
    for teacher in (whole, parts):
        teacher.on_epoch_end(toy_model(3))
    mix = toy_batch(5).mix
    torch.testing.assert_close(parts(mix), whole(mix))


def test_the_projected_target_adds_up_to_the_mix():
    run = surroundings()
    provider = pskd(run, alpha=0.9, project=True)
    provider.on_epoch_end(run.model)
    batch = toy_batch()
    target = provider(batch, references(batch), Progress(EPOCHS - 1, EPOCHS))
    torch.testing.assert_close(target.sources.sum(dim=1), batch.mix, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(target.sources, batch.stems)


def test_a_projection_of_some_of_the_sources_is_refused():
    targets = TargetMap.make({"vocals": ["vocals"]}, STEMS)
    with pytest.raises(ConfigError, match=r"distill\.project: .*bass, drums"):
        pskd(surroundings(targets=targets), project=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"alpha": 1.0}, r"distill\.alpha"),
        ({"teacher": "ema", "decay": 1.0}, r"distill\.decay"),
        ({"teacher": "stored"}, r"distill\.teacher: .*train\.fixed_crops=true"),
    ],
)
def test_wrong_values_are_named(config, message):
    with pytest.raises(ConfigError, match=message):
        pskd(**config)


def test_stored_predictions_are_refused_where_anything_augments():
    run = surroundings(fixed_crops=True, augmented=("scale", "remix"))
    with pytest.raises(ConfigError, match=r"distill\.teacher: .*scale, remix would change"):
        pskd(run, teacher="stored")
