"""Devices by name."""

import pytest
import torch

from mss.api.device import choose_device
from mss.core.errors import ConfigError


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}"):
        choose_device(name)


def test_auto_device_computes() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == torch.device("cpu")
