"""Weights of another model: what fits is taken, the rest is named."""

import pytest
import torch
from torch import nn

from mss.core.errors import ConfigError
from mss.solver.transfer import take_weights


def model_of(outputs: int, hidden: int = 4, extra: bool = False) -> nn.Module:
    layers = {"first": nn.Linear(3, hidden), "last": nn.Linear(hidden, outputs)}
    if extra:
        layers["more"] = nn.Linear(2, 2)
    return nn.ModuleDict(layers)


def test_the_same_model_is_the_other_one_afterwards():
    origin, model = model_of(2), model_of(2)
    transfer = take_weights(model, origin.state_dict(), "run abc")
    assert transfer.complete
    for name, tensor in origin.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_other_stems_take_what_fits_and_the_rest_is_named(caplog):
    caplog.set_level("INFO")
    origin, model = model_of(2, extra=True), model_of(5)
    last = model["last"].weight.detach().clone()
    transfer = take_weights(model, origin.state_dict(), "run abc")
    assert transfer.taken == ("first.weight", "first.bias")
    assert transfer.reshaped == ("last.weight", "last.bias")
    assert transfer.missing == ()
    assert transfer.unused == ("more.weight", "more.bias")
    assert not transfer.complete
    assert torch.equal(model["first"].weight, origin["first"].weight)
    assert torch.equal(model["last"].weight, last)
    assert "2 of 4 weights are those of run abc" in caplog.text
    assert "have another shape there and start anew: last.weight, last.bias" in caplog.text
    assert "not needed: more.weight" in caplog.text


def test_nothing_that_fits_is_an_error():
    with pytest.raises(ConfigError, match=r"continue_from: run abc has no weight that fits"):
        take_weights(model_of(2), model_of(3, hidden=7).state_dict(), "run abc")
