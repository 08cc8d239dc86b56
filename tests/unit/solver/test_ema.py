"""Averages of weights against the recurrence that defines them."""

import pytest
import torch

from mss.core.errors import ConfigError
from mss.solver.ema import Ema, EmaConfig


def test_the_average_by_step_is_the_recurrence():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = Ema(EmaConfig(step=0.75), model)
    expected = None
    for value in (1.0, 3.0, -2.0, 5.0):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.on_step(model)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    assert ema.candidates()["ema_step"].weight.item() == pytest.approx(expected)


def test_each_average_moves_at_its_own_time_and_buffers_move_too():
    model = torch.nn.BatchNorm1d(1)
    ema = Ema(EmaConfig(step=0.5, epoch=0.5), model)
    for mean in (2.0, 4.0):
        model.running_mean.fill_(mean)
        ema.on_step(model)
    ema.on_epoch(model)
    assert ema.candidates()["ema_step"].running_mean.item() == 3.0
    assert ema.candidates()["ema_epoch"].running_mean.item() == 4.0


def test_a_decay_of_zero_builds_nothing_and_one_is_refused():
    assert Ema(EmaConfig(), torch.nn.Linear(1, 1)).candidates() == {}
    with pytest.raises(ConfigError, match=r"ema\.step"):
        EmaConfig(step=1.0)
