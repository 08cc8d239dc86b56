"""L1 and MSE against the formula written out in loops."""

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target
from mss.losses.base import LossConfig
from mss.losses.waveform import L1Loss, MSELoss, WaveformLoss

SOURCES = ("drums", "bass", "vocals")


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Return estimate and target [4, 3, 2, 50] and weights [4, 3] with zeros."""
    generator = torch.Generator().manual_seed(0)
    estimate = torch.randn(4, 3, 2, 50, generator=generator)
    target = torch.randn(4, 3, 2, 50, generator=generator)
    weight = torch.rand(4, 3, generator=generator)
    weight[0, 0] = weight[2, 1] = 0
    return estimate, target, weight


@pytest.mark.parametrize(("loss_class", "power"), [(L1Loss, 1), (MSELoss, 2)])
@pytest.mark.parametrize("stem_weights", [{}, {"vocals": 2.5, "bass": 0.0}])
def test_equals_the_formula(
    loss_class: type[WaveformLoss], power: int, stem_weights: dict[str, float]
) -> None:
    estimate, target, weight = example()
    report = loss_class(LossConfig(stem_weights), SOURCES)(
        Estimate(estimate), Target(target, weight)
    )
    numerator = denominator = 0.0
    parts = dict.fromkeys(SOURCES, (0.0, 0.0))
    for item in range(4):
        for row, source in enumerate(SOURCES):
            difference = (estimate[item, row] - target[item, row]).double().abs() ** power
            error, w = difference.mean().item(), weight[item, row].item()
            numerator += stem_weights.get(source, 1.0) * w * error
            denominator += stem_weights.get(source, 1.0) * w
            above, below = parts[source]
            parts[source] = above + w * error, below + w
    # float32 means of 100 values: a few ulps
    assert report.total.item() == pytest.approx(numerator / denominator, rel=1e-6)
    assert list(report.parts) == list(SOURCES)
    for source, (above, below) in parts.items():
        assert report.parts[source].item() == pytest.approx(above / below, rel=1e-6)
        assert not report.parts[source].requires_grad


def test_gradient_is_that_of_the_mean() -> None:
    estimate, target, _ = example()
    estimate.requires_grad_()
    L1Loss(LossConfig(), SOURCES)(
        Estimate(estimate), Target(target, torch.ones(4, 3))
    ).total.backward()
    expected = (estimate.detach() - target).sign() / estimate.numel()
    torch.testing.assert_close(estimate.grad, expected, rtol=1e-6, atol=0)


def test_unknown_sources_get_no_gradient() -> None:
    estimate, target, weight = example()
    estimate.requires_grad_()
    loss = MSELoss(LossConfig(), SOURCES)
    loss(Estimate(estimate), Target(target, weight)).total.backward()
    assert estimate.grad is not None
    assert torch.equal(estimate.grad.abs().sum(dim=(2, 3)) > 0, weight > 0)


def test_all_zero_weights_give_zero_and_no_gradient() -> None:
    estimate, target, weight = example()
    estimate.requires_grad_()
    report = L1Loss(LossConfig(), SOURCES)(Estimate(estimate), Target(target, weight * 0))
    report.total.backward()
    assert report.total.item() == 0
    assert estimate.grad is not None
    assert not estimate.grad.any()
    assert all(part.isnan() for part in report.parts.values())


def test_faults_show_through_zero_weights() -> None:
    estimate, target, weight = example()
    estimate[0, 0, 0, 0] = torch.nan  # its weight is 0
    report = L1Loss(LossConfig(), SOURCES)(Estimate(estimate), Target(target, weight))
    assert report.total.isnan()


def test_half_precision_is_compared_in_float32() -> None:
    _, target, weight = example()
    estimate = (target + 1e-3).to(torch.bfloat16)
    report = MSELoss(LossConfig(), SOURCES)(Estimate(estimate), Target(target, weight))
    expected = MSELoss(LossConfig(), SOURCES)(Estimate(estimate.float()), Target(target, weight))
    assert report.total.dtype == torch.float32
    assert torch.equal(report.total, expected.total)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"vocal": 1.0}, r"loss\.weights\.vocal: .*'vocals'"),
        ({"vocals": -1.0}, r"loss\.weights\.vocals: -1\.0"),
        ({"vocals": float("nan")}, r"loss\.weights\.vocals: nan"),
        (dict.fromkeys(SOURCES, 0.0), "every source has weight 0"),
    ],
)
def test_wrong_weights(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.build("loss", {"name": "l1", "weights": weights}, SOURCES)


def test_a_wrong_length_is_not_broadcast() -> None:
    estimate, target, weight = example()
    with pytest.raises(AssertionError, match="estimate"):
        L1Loss(LossConfig(), SOURCES)(Estimate(estimate[..., :1]), Target(target, weight))
