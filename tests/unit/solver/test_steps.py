"""The rates of schedule=steps: by the epoch, over the warm-up and over a restart."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mss.compose import compose_config
from mss.core import registry
from mss.core.errors import ConfigError
from mss.solver.schedule import Constant, FadingConfig
from mss.solver.steps import Steps, StepsConfig

RATE = 0.1
EPOCHS, STEPS = 6, 4  # of an epoch


def make(epochs: int = EPOCHS, **keys: Any) -> Steps:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    return Steps(StepsConfig(**keys), optimizer, epochs * STEPS, epochs)


def rates(schedule: Constant, steps: int = EPOCHS * STEPS) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(schedule.rate)
        schedule.optimizer.step()
        schedule.on_step()
    return seen


def test_each_share_holds_from_its_epoch_on() -> None:
    seen = rates(make(at={5: 0.1, 2: 0.5}))
    assert seen == pytest.approx([RATE] * 8 + [RATE / 2] * 12 + [RATE / 10] * 4)


def test_a_step_at_the_first_epoch_and_one_behind_the_last() -> None:
    assert rates(make(at={0: 0.2, EPOCHS: 0.1})) == pytest.approx([RATE / 5] * 24)


def test_no_step_is_a_constant_rate() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    constant = Constant(FadingConfig(warmup_steps=5), optimizer, 24, 6)
    assert rates(make(warmup_steps=5)) == rates(constant)


def test_the_warm_up_comes_first() -> None:
    seen = rates(make(at={1: 0.5}, warmup_steps=6))
    expected = [RATE * (0.01 + 0.99 * step / 6) for step in range(6)] + [RATE / 2] * 18
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("stop", [3, 8, 9, 20])
def test_a_restart_goes_on_with_the_same_rates(stop: int) -> None:
    keys: dict[str, Any] = {"at": {2: 0.5, 4: 0.25}, "warmup_steps": 3}
    whole = rates(make(**keys))
    first, second = make(**keys), make(**keys)
    before = rates(first, stop)
    second.load_state_dict(first.state_dict())
    assert before + rates(second, 24 - stop) == whole


def test_a_longer_run_has_its_steps_at_the_same_epochs() -> None:
    assert rates(make(at={2: 0.5})) == rates(make(epochs=9, at={2: 0.5}))


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({-1: 0.5}, r"schedule\.at: epoch -1 is negative"),
        ({3: 0.0}, r"schedule\.at\.3: 0\.0 is not in \(0, 1\]"),
        ({3: 1.5}, r"schedule\.at\.3: 1\.5"),
    ],
)
def test_wrong_steps(at: dict[int, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StepsConfig(at=at)


def test_the_yaml_holds_every_key_with_its_default(repository: Path) -> None:
    values = yaml.safe_load((repository / "conf/schedule/steps.yaml").read_text())
    assert values.pop("name") == "steps"
    assert set(values) == set(registry.dump_config(StepsConfig()))
    assert registry.make_config(StepsConfig, values, "schedule") == StepsConfig()


def test_the_command_line_gives_the_steps() -> None:
    cfg = compose_config(["schedule=steps", "+schedule.at.2=0.5", "+schedule.at.4=0.25"])
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = registry.build("schedule", cfg.schedule, optimizer, 24, 6)
    assert rates(schedule) == rates(make(at={2: 0.5, 4: 0.25}))
