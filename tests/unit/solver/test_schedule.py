"""Learning rates against their closed forms, and over a restart."""

import math

import pytest
import torch

from mss.core.errors import ConfigError
from mss.solver.schedule import (
    Constant,
    Cosine,
    CosineConfig,
    FadingConfig,
    Plateau,
    PlateauConfig,
    ScheduleConfig,
)

RATE = 0.1


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(schedule, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.rate)
        schedule.optimizer.step()
        schedule.on_step()
    return seen


def test_constant_is_constant():
    assert rates(Constant(FadingConfig(), optimizer(), 5), 5) == [RATE] * 5


def test_warmup_rises_linearly_to_the_full_rate():
    seen = rates(Constant(FadingConfig(warmup_steps=4), optimizer(), 10), 10)
    expected = [RATE * (0.01 + 0.99 * step / 4) for step in range(4)] + [RATE] * 6
    assert seen == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_follows_its_formula(warmup):
    steps, final = 13, 0.1
    schedule = Cosine(CosineConfig(warmup_steps=warmup, final=final), optimizer(), steps)
    seen = rates(schedule, steps)[warmup:]
    span = steps - warmup
    expected = [
        RATE * (final + (1 - final) * (1 + math.cos(math.pi * t / span)) / 2) for t in range(span)
    ]
    assert seen == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("stop", [1, 3, 4, 9])
def test_a_restart_goes_on_with_the_same_rates(stop):
    config, steps = CosineConfig(warmup_steps=3), 12
    whole = rates(Cosine(config, optimizer(), steps), steps)
    first_optimizer = optimizer()
    first = Cosine(config, first_optimizer, steps)
    before = rates(first, stop)
    second_optimizer = optimizer()
    second = Cosine(config, second_optimizer, steps)
    second_optimizer.load_state_dict(first_optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert before + rates(second, steps - stop) == whole


@pytest.mark.parametrize("stop", [2, 5, 30])
def test_after_a_change_the_rates_are_those_of_the_new_values(stop):
    first = Cosine(CosineConfig(warmup_steps=3), optimizer(), 12)
    rates(first, stop)
    config = CosineConfig(warmup_steps=5, final=0.2)
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=7 * RATE)
    whole = rates(Cosine(config, other, 20), 40)
    again = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=7 * RATE)
    resumed = Cosine(config, again, 20)
    resumed.load_state_dict(first.state_dict())
    assert rates(resumed, 5) == whole[stop : stop + 5]


def test_plateau_goes_on_with_its_reduction_of_the_new_rate():
    first = Plateau(PlateauConfig(factor=0.5, patience=1), optimizer(), 100)
    for loss in (1.0, 1.0, 1.0, 1.0):
        first.on_epoch(loss)
    other = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=3 * RATE)
    second = Plateau(PlateauConfig(factor=0.1, patience=1), other, 100)
    second.load_state_dict(first.state_dict())
    assert second.rate == 3 * RATE / 2
    second.on_epoch(1.0)  # the second in a row, one was before the restart
    assert second.rate == pytest.approx(3 * RATE / 2 * 0.1)


def test_a_state_of_another_kind_is_refused():
    constant = Constant(FadingConfig(), optimizer(), 5)
    with pytest.raises(ConfigError, match=r"schedule\.name: .*'constant'.*'cosine'.*start a new"):
        Cosine(CosineConfig(), optimizer(), 5).load_state_dict(constant.state_dict())


def test_plateau_lowers_the_rate_after_its_patience():
    schedule = Plateau(PlateauConfig(factor=0.5, patience=1), optimizer(), 100)
    seen = []
    for loss in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5):
        schedule.on_epoch(loss)
        seen.append(schedule.rate)
    assert seen == [RATE, RATE, RATE / 2, RATE / 2, RATE / 2, RATE / 4]


def test_a_warmup_as_long_as_the_run_is_refused():
    with pytest.raises(ConfigError, match=r"schedule\.warmup_steps"):
        Constant(FadingConfig(warmup_steps=5), optimizer(), 5)


def test_a_negative_loss_that_stays_is_no_progress():
    schedule = Plateau(PlateauConfig(factor=0.5, patience=1), optimizer(), 100)
    for _ in range(3):
        schedule.on_epoch(-10.0)
    assert schedule.rate == RATE / 2


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (ScheduleConfig, "warmup_steps", -1),
        (CosineConfig, "warmup_steps", -1),
        (CosineConfig, "final", 1.5),
        (CosineConfig, "final", math.nan),
        (PlateauConfig, "factor", 1.0),
        (PlateauConfig, "factor", 0.0),
        (PlateauConfig, "factor", math.nan),
        (PlateauConfig, "patience", -1),
        (PlateauConfig, "warmup_steps", 1),
    ],
)
def test_values_out_of_range_are_refused(config, key, value):
    with pytest.raises(ConfigError, match=rf"schedule\.{key}"):
        config(**{key: value})
