"""Optimisers: their ranges, what a resume keeps of them, and the step that is not made."""

import math

import pytest
import torch

from mss.core.errors import ConfigError
from mss.solver.errors import GradientError
from mss.solver.optim import Adam, AdamW, OptimConfig
from mss.solver.precision import Precision


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("betas", (1.0, 0.9)),
        ("betas", (0.9, math.nan)),
        ("betas", (-0.1, 0.9)),
        ("eps", 0.0),
        ("eps", math.nan),
        ("weight_decay", -1.0),
        ("weight_decay", math.nan),
        ("clip_norm", -1.0),
        ("clip_norm", math.nan),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"optim\.{key}: "):
        OptimConfig(**{key: value})


def update(optim: Adam, loss: torch.Tensor) -> None:
    precision = Precision("float32", torch.device("cpu"))
    optim.zero_grad()
    precision.backward(loss)
    precision.step(optim)


def test_a_gradient_that_is_not_finite_makes_no_step():
    weight = parameter()
    optim = Adam(OptimConfig(lr=0.1, clip_norm=1.0), [weight])
    update(optim, weight.square().sum())
    before = weight.detach().clone()
    with pytest.raises(GradientError, match="norm of the gradient is nan"):
        update(optim, 1 + (weight * 0).sum().sqrt())  # finite, its derivative is inf * 0
    assert torch.equal(weight.detach(), before)
    assert optim.state_dict()["state"][0]["step"] == 1


def test_a_resume_keeps_the_running_means_and_takes_the_values_of_the_config():
    weight = parameter()
    first = Adam(OptimConfig(lr=0.1), [weight])
    update(first, weight.square().sum())
    config = OptimConfig(lr=0.2, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.1)
    second = AdamW(config, [parameter()])
    second.load_state_dict(first.state_dict())
    (group,) = second.optimizer.param_groups
    assert {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
        "lr": 0.2,
        "betas": (0.5, 0.6),
        "eps": 1e-3,
        "weight_decay": 0.1,
    }
    assert group["decoupled_weight_decay"]
    for key, value in first.state_dict()["state"][0].items():
        assert torch.equal(second.state_dict()["state"][0][key], value)
