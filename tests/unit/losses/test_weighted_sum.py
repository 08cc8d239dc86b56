"""The sum of losses, in the solver's update too."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toy_solver import SPEC, Gains

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.separator import SeparatorConfig
from mss.core.types import Batch, Estimate, Target
from mss.solver.optim import Adam, OptimConfig
from mss.solver.precision import Precision
from mss.solver.speed import Speed
from mss.solver.update import Updater

SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]


def build(parts: dict[str, Any], sources: tuple[str, ...] = SOURCES, **values: Any) -> Any:
    return registry.build("loss", {"name": "sum", "parts": parts, **values}, sources)


def test_is_the_weighted_sum(make_example: MakeExample) -> None:
    example = make_example()
    got = build(
        {
            "absolute": {"name": "l1", "weight": 2.0},
            "ratio": {"name": "sdr", "weight": 0.1, "eps": 1e-3},
            "squares": {"name": "mse"},
            "off": {"name": "mrstft", "weight": 0},
        }
    )(*example)
    single = {
        "absolute": registry.build("loss", {"name": "l1"}, SOURCES)(*example),
        "ratio": registry.build("loss", {"name": "sdr", "eps": 1e-3}, SOURCES)(*example),
        "squares": registry.build("loss", {"name": "mse"}, SOURCES)(*example),
    }
    weights = {"absolute": 2.0, "ratio": 0.1, "squares": 1.0}
    expected = sum(weight * single[key].total.item() for key, weight in weights.items())
    assert got.total.item() == pytest.approx(expected, rel=1e-5)
    assert set(got.parts) == {*SOURCES, *weights}
    for key, report in single.items():
        assert got.parts[key].item() == pytest.approx(report.total.item(), rel=1e-5)


def test_parts_have_source_weights_of_their_own(make_example: MakeExample) -> None:
    example = make_example()
    weights = {"vocals": 4.0, "bass": 0.0}
    got = build({"x": {"name": "l1", "weights": weights}, "y": {"name": "mse"}})(*example)
    expected = (
        registry.build("loss", {"name": "l1", "weights": weights}, SOURCES)(*example).total
        + registry.build("loss", {"name": "mse"}, SOURCES)(*example).total
    )
    assert got.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_terms_of_the_parts_are_told(make_example: MakeExample) -> None:
    report = build(
        {"stft": {"name": "mrstft"}, "inner": {"name": "sum", "parts": {"z": {"name": "l1"}}}}
    )(*make_example())
    assert {"stft_convergence", "stft_log_magnitude", "inner", "inner_z"} <= set(report.parts)


def test_it_compares_items_where_a_part_does() -> None:
    truncated = {"name": "truncated", "loss": {"name": "l1"}}
    assert build({"x": truncated}).compares_items
    assert not build({"x": truncated | {"weight": 0}, "y": {"name": "l1"}}).compares_items


@pytest.mark.parametrize("parts", [1, 3])
def test_an_update_in_parts_is_that_of_the_whole(parts: int) -> None:
    """Through the solver's update, which hands the mixture on to the loss."""
    loss = build(
        {
            "l1": {"name": "l1"},
            "sums": {"name": "combination", "nfft": 16, "nhop": 8, "weight": 0.1},
            "ratio": {"name": "si_sdr", "weight": 0.1, "weights": {"a": 3.0}},
        },
        SPEC.sources,
        weights={"b": 2.0},
    )
    generator = torch.Generator().manual_seed(0)
    stems = torch.randn(5, 2, 1, 64, generator=generator)
    weight = torch.ones(5, 2)
    weight[0] = weight[1, 0] = weight[4, 1] = 0
    mix = stems.sum(dim=1)
    model = Gains(SeparatorConfig(), SPEC, dropout=0.0)
    torch.nn.init.constant_(model.gains, 0.3)
    optim = Adam(OptimConfig(lr=0.01), model.parameters())
    updater = Updater(
        model, loss, optim, Precision("float32", torch.device("cpu")), Speed(accumulate=parts)
    )
    report = updater(Batch(mix, stems, SPEC.sources, weight), Target(stems, weight, mix))

    whole = Gains(SeparatorConfig(), SPEC, dropout=0.0)
    torch.nn.init.constant_(whole.gains, 0.3)
    expected = loss(whole(mix), Target(stems, weight, mix))
    expected.total.backward()
    assert report.loss == pytest.approx(expected.total.item(), rel=1e-5)
    torch.testing.assert_close(model.gains.grad, whole.gains.grad, rtol=1e-4, atol=1e-6)
    for key in ("l1", "sums", "ratio"):
        mean = report.sums[f"loss_{key}"] / report.weights[f"loss_{key}"]
        assert mean == pytest.approx(expected.parts[key].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, r"loss\.parts: no part has a weight"),
        ({"x": {"name": "l1", "weight": 0}}, r"loss\.parts: no part has a weight"),
        ({"x": {"name": "l1", "weight": -1}}, r"loss\.parts\.x\.weight: -1"),
        (
            {"x": {"name": "l1", "weight": "much"}},
            r"loss\.parts\.x\.weight: 'much' is not a number",
        ),
        ({"x": {"weight": 1}}, r"loss\.parts\.x\.name: this key is needed"),
        ({"x": {"name": "sdr", "eps": 0.0}}, r"loss\.parts\.x\.eps: 0\.0"),
        ({"x": {"name": "sdr", "esp": 1.0}}, r"loss\.parts\.x\.esp: .*'eps'"),
        ({"x": {"name": "l1", "weights": {"vocal": 1}}}, r"loss\.parts\.x\.weights\.vocal"),
        ({"vocals": {"name": "l1"}}, r"loss\.parts\.vocals: a source has this name"),
        ({"remainder": {"name": "l1"}}, r"loss\.parts\.remainder: .*name the part otherwise"),
    ],
)
def test_wrong_parts(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(parts)
