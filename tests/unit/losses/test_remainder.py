"""What a loss makes of a sum of sources that is known where they are not."""

import pytest
import torch

from mss.core import registry
from mss.core.types import Estimate, Remainder, Target
from mss.losses.base import LossConfig
from mss.losses.waveform import L1Loss, MSELoss

SOURCES = ("drums", "bass", "vocals")


def waves(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example():
    """Item 0 is labelled; in item 1 the drums are, and bass and vocals add up to `rest`."""
    estimate = waves(2, 3, 1, 40).requires_grad_()
    sources = waves(2, 3, 1, 40, seed=1)
    rest = waves(2, 1, 40, seed=2)
    members = torch.tensor([[False] * 3, [False, True, True]])
    weight = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    remainder = Remainder(rest, members, torch.tensor([0.0, 0.5]))
    return Estimate(estimate), Target(sources, weight, None, remainder)


@pytest.mark.parametrize(("loss_class", "power"), [(L1Loss, 1), (MSELoss, 2)])
def test_the_remainder_is_one_source_more(loss_class, power):
    estimate, target = example()
    loss = loss_class(LossConfig(), SOURCES)
    report = loss(estimate, target)
    errors = (estimate.wave - target.sources).abs().pow(power).mean(dim=(2, 3))
    weak = (estimate.wave[1, 1] + estimate.wave[1, 2] - target.remainder.wave[1]).abs()
    weak = weak.pow(power).mean()
    expected = ((errors * target.weight).sum() + 0.5 * weak) / (4 + 0.5)
    torch.testing.assert_close(report.total, expected)
    torch.testing.assert_close(report.parts["remainder"], weak.detach())
    assert report.part_weights["remainder"] == 0.5
    assert loss.weight(target).item() == 4.5


def test_its_gradient_reaches_the_members_alone_and_alike():
    estimate, target = example()
    target.weight.zero_()
    loss = L1Loss(LossConfig(), SOURCES)(estimate, target)
    (gradient,) = torch.autograd.grad(loss.total, estimate.wave)
    assert not gradient[0].any()
    assert not gradient[1, 0].any()
    assert gradient[1, 1].any()
    assert torch.equal(gradient[1, 1], gradient[1, 2])


def test_parts_of_a_batch_add_up_to_the_whole():
    estimate, target = example()
    loss = L1Loss(LossConfig(weights={"bass": 0.25}), SOURCES)
    whole = loss(estimate, target).total
    parts = target.chunk(2)
    means = [loss(Estimate(estimate.wave[i : i + 1]), part) for i, part in enumerate(parts)]
    weights = [loss.weight(part) for part in parts]
    added = sum(m.total * w for m, w in zip(means, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(added, whole)


def test_without_a_remainder_nothing_changes():
    estimate, target = example()
    plain = Target(target.sources, target.weight)
    none = Target(
        target.sources,
        target.weight,
        None,
        Remainder(target.remainder.wave, torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2)),
    )
    loss = L1Loss(LossConfig(), SOURCES)
    assert loss(estimate, plain).total.item() == loss(estimate, none).total.item()
    assert "remainder" not in loss(estimate, plain).parts


@pytest.mark.parametrize("name", registry.names("loss", plugins=False))
def test_every_loss_judges_a_sum_of_sources(name, torchaudio_stub):
    """An exact sum is no worse than a wrong one, and only its members learn from it."""
    estimate = waves(2, 3, 1, 4096).requires_grad_()
    members = torch.tensor([[False, True, True]] * 2)
    exact = (estimate[:, 1] + estimate[:, 2]).detach()
    found = []
    for wave in (exact, exact + waves(2, 1, 4096, seed=5)):
        loss = registry.build("loss", {"name": name}, SOURCES)
        remainder = Remainder(wave, members, torch.ones(2))
        mix = wave + waves(2, 1, 4096, seed=7)
        target = Target(waves(2, 3, 1, 4096, seed=1), torch.zeros(2, 3), mix, remainder)
        report = loss(Estimate(estimate), target)
        (gradient,) = torch.autograd.grad(report.total, estimate, allow_unused=True)
        assert torch.isfinite(report.total)
        if gradient is not None:
            assert not gradient[:, 0].any()
        found.append(report.parts["remainder"].item())
    assert found[0] < found[1]
