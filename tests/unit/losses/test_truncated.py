"""The truncated loss: which errors it leaves out, over parts and ranks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_solver import SPEC, Gains

from mss.compose import compose_config
from mss.core import distrib, registry
from mss.core.errors import ConfigError
from mss.core.separator import SeparatorConfig
from mss.core.types import Batch, Estimate, Remainder, Target
from mss.solver.optim import Adam, OptimConfig
from mss.solver.precision import Precision
from mss.solver.speed import AUTO, Speed
from mss.solver.update import Updater

SOURCES = ("a", "b")
# mean absolute errors of 5 items and 2 sources
ERRORS = torch.tensor([[1.0, 9.0], [2.0, 7.0], [3.0, 8.0], [10.0, 5.0], [4.0, 6.0]])


def build(quantile: float = 0.5, **inner: Any) -> Any:
    values = {"name": "truncated", "quantile": quantile, "loss": {"name": "l1", **inner}}
    return registry.build("loss", values, SOURCES)


def batch(errors: Tensor, weight: Tensor | None = None) -> tuple[Estimate, Target]:
    wave = errors[:, :, None, None].expand(-1, -1, 1, 4).clone().requires_grad_()
    weight = torch.ones_like(errors) if weight is None else weight
    return Estimate(wave), Target(torch.zeros_like(wave), weight)


def kept(estimate: Estimate) -> Tensor:
    assert estimate.wave.grad is not None
    return estimate.wave.grad.abs().amax(dim=(2, 3)) > 0


@pytest.mark.parametrize("quantile", [0.3, 0.5, 0.7, 0.99])
def test_errors_above_the_quantile_count_zero(quantile: float) -> None:
    estimate, target = batch(ERRORS)
    report = build(quantile)(estimate, target)
    report.total.backward()
    expected = torch.quantile(ERRORS, quantile, dim=0) >= ERRORS
    assert torch.equal(kept(estimate), expected)
    assert report.total.item() == pytest.approx((ERRORS * expected).mean().item())
    assert report.parts["dropped"].item() == pytest.approx(1 - expected.float().mean().item())
    assert report.parts["a"].item() == pytest.approx((ERRORS * expected)[:, 0].mean().item())


def test_equal_errors_all_stay() -> None:
    """With `<` none of them would."""
    estimate, target = batch(torch.full((4, 2), 0.3))
    report = build()(estimate, target)
    assert report.total.item() == pytest.approx(0.3)
    assert report.parts["dropped"] == 0


def test_unknown_items_do_not_move_the_quantile() -> None:
    weight = torch.ones(5, 2)
    weight[3, 0] = weight[0, 1] = 0  # the largest of each source
    estimate, target = batch(ERRORS, weight)
    report = build(0.5)(estimate, target)
    report.total.backward()
    # of 1 2 3 4 and of 7 8 5 6 the median leaves two
    assert kept(estimate).sum(dim=0).tolist() == [2, 2]
    assert report.total.item() == pytest.approx((1 + 2 + 5 + 6) / 8)
    assert report.parts["dropped"].item() == pytest.approx(0.5)


def test_the_quantile_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, target = batch(ERRORS)
    loss = build(0.5)
    loss(whole, target).total.backward()
    own, others = ERRORS[:2], ERRORS[2:]
    monkeypatch.setattr(
        distrib, "gather", lambda value: [value, (others, torch.ones(3, 2, dtype=torch.bool))]
    )
    estimate, target = batch(own)
    loss(estimate, target).total.backward()
    assert torch.equal(kept(estimate), kept(whole)[:2])
    assert not torch.equal(kept(estimate), own <= own.quantile(0.5, dim=0)), "a weak example"


def test_a_single_item_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.quantile: a single item .*train\.batch_size"):
        build()(*batch(ERRORS[:1]))


def test_a_single_item_of_each_rank_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.ones(1, 2, dtype=torch.bool)
    monkeypatch.setattr(distrib, "gather", lambda value: [value, (ERRORS[1:2], known)])
    estimate, target = batch(ERRORS[:1])
    build()(estimate, target).total.backward()
    assert kept(estimate).tolist() == [[True, False]]


def test_nothing_is_left_out_without_gradients() -> None:
    """A whole song of the validation is a single item."""
    estimate, target = batch(ERRORS[:1])
    with torch.no_grad():
        report = build()(Estimate(estimate.wave.detach()), target)
    assert report.total.item() == pytest.approx(5)
    assert "dropped" not in report.parts


def test_a_fault_is_not_left_out() -> None:
    errors = ERRORS.clone()
    errors[1, 0] = torch.inf
    assert not build()(*batch(errors)).total.isfinite()
    errors[1, 0] = torch.nan
    assert build()(*batch(errors)).total.isnan()


def test_any_loss_can_be_truncated(make_example: Callable[..., Any]) -> None:
    estimate, target = make_example(sources=2)
    inner = registry.build("loss", {"name": "mrstft"}, SOURCES)
    errors = inner.errors(estimate, target).total
    estimate.wave.requires_grad_()
    report = build(0.6, name="mrstft")(estimate, target)
    bounds = errors.quantile(0.6, dim=0)
    assert report.total.item() == pytest.approx((errors * (errors <= bounds)).mean().item())
    assert {"convergence", "log_magnitude", "dropped"} <= set(report.parts)


# -- stages ----------------------------------------------------------------------------------


def staged(stages: dict[int, float], quantile: float = 0.7) -> Any:
    values = {"name": "truncated", "quantile": quantile, "stages": stages, "loss": {"name": "l1"}}
    return registry.build("loss", values, SOURCES)


def kept_in(loss: Any, epoch: int) -> Tensor:
    loss.on_epoch(epoch)
    estimate, target = batch(ERRORS)
    loss(estimate, target).total.backward()
    return kept(estimate)


def test_each_stage_has_a_quantile_of_its_own() -> None:
    """The winner's stages, in an order that does not matter, at any epoch and after any other."""
    loss = staged({700: 0.3, 0: 0.7, 500: 0.5})
    for epoch, quantile in ((0, 0.7), (700, 0.3), (499, 0.7), (500, 0.5), (699, 0.5), (899, 0.3)):
        expected = torch.quantile(ERRORS, quantile, dim=0) >= ERRORS
        assert torch.equal(kept_in(loss, epoch), expected), epoch


def test_before_the_first_stage_the_quantile_holds() -> None:
    loss = staged({3: 0.3}, quantile=0.5)
    of_half = torch.quantile(ERRORS, 0.5, dim=0) >= ERRORS
    estimate, target = batch(ERRORS)
    loss(estimate, target).total.backward()
    assert torch.equal(kept(estimate), of_half)  # of the first epoch, before it is told
    assert torch.equal(kept_in(loss, 2), of_half)
    assert not torch.equal(kept_in(loss, 3), of_half)


def test_a_first_stage_of_all_errors() -> None:
    loss = staged({0: 1.0, 1: 0.3})
    assert kept_in(loss, 0).all()
    assert not kept_in(loss, 1).all()


def test_stages_reach_losses_within_losses() -> None:
    inner = {"name": "truncated", "stages": {1: 0.3}, "loss": {"name": "l1"}}
    parts = {"x": inner, "y": {"name": "truncated", "loss": inner, "quantile": 0.9}}
    loss = registry.build("loss", {"name": "sum", "parts": parts}, SOURCES)
    loss.on_epoch(1)
    assert loss.losses["x"].quantile == 0.3
    assert loss.losses["y"].quantile == 0.9
    assert loss.losses["y"].loss.quantile == 0.3


def test_sums_of_sources_are_not_truncated() -> None:
    """What only the sum of sources is known of is a recording, no label that may be wrong."""
    loss = staged({0: 0.3})
    estimate, target = batch(ERRORS)
    target.weight.zero_()
    target.remainder = Remainder(torch.zeros(5, 1, 4), torch.ones(5, 2), torch.ones(5))
    sums = estimate.wave.sum(dim=1).abs().mean(dim=(1, 2))
    assert loss(estimate, target).total.item() == pytest.approx(sums.mean().item())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({-1: 0.5}, r"loss\.stages: epoch -1 is negative"),
        ({5: 0.0}, r"loss\.stages\.5: 0\.0 is not in \(0, 1\]"),
        ({5: 1.2}, r"loss\.stages\.5: 1\.2"),
        ({"late": 0.5}, r"loss\.stages"),
    ],
)
def test_wrong_stages(stages: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        staged(stages)


def test_the_command_line_gives_the_stages() -> None:
    cfg = compose_config(["loss=truncated", "+loss.stages.500=0.5", "+loss.stages.700=0.3"])
    loss = registry.build("loss", cfg.loss, SOURCES)
    found = [loss.quantile_at(epoch) for epoch in (0, 499, 500, 700)]
    assert found == [0.7, 0.7, 0.5, 0.3]


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1])
def test_a_wrong_quantile(quantile: float) -> None:
    with pytest.raises(ConfigError, match=r"loss\.quantile: .* not between 0 and 1"):
        build(quantile)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({"name": "l3"}, r"loss\.loss\.name: there is no loss named 'l3'"),
        ({"name": 5}, r"loss\.loss\.name: 5 is not the name of a loss"),
        ({"epsilon": 1}, r"loss\.loss\.epsilon: there is no such key"),
        ({"weights": {"c": 1.0}}, r"loss\.loss\.weights\.c: the model has no such source"),
    ],
)
def test_errors_of_the_inner_loss_name_their_key(inner: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**inner)


def test_ranks_do_not_search_for_parts_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try would be an exchange, and they may try unequally often."""
    model = Gains(SeparatorConfig(), SPEC)
    updater = Updater(
        model,
        build(),
        Adam(OptimConfig(lr=0.01), model.parameters()),
        Precision("float32", torch.device("cpu")),
        Speed(AUTO),
    )
    monkeypatch.setattr(distrib, "world_size", lambda: 2)
    stems = torch.randn(4, 2, 1, 64, generator=torch.Generator().manual_seed(0))
    data = Batch(stems.sum(dim=1), stems, SOURCES, torch.ones(4, 2))
    with pytest.raises(ConfigError, match=r"misc\.accumulate: 0 can't be found out"):
        updater(data, Target(stems, torch.ones(4, 2)))
