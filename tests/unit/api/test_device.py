"""Devices by name."""

from pathlib import Path

import pytest
import torch

from mss.api import device
from mss.api.device import choose_device, device_title, free_memory
from mss.core.errors import ConfigError


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}"):
        choose_device(name)


def test_auto_device_computes() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == torch.device("cpu")


def test_a_cpu_has_a_title_and_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    info, memory = tmp_path / "cpuinfo", tmp_path / "meminfo"
    info.write_text("processor : 0\nmodel name\t: Some CPU 9000\n")
    memory.write_text("MemTotal:  2000 kB\nMemAvailable:    1000 kB\n")
    monkeypatch.setattr(device, "_CPUINFO", info)
    monkeypatch.setattr(device, "_MEMINFO", memory)
    monkeypatch.setattr(device, "memory_left", lambda: None)
    assert device_title(cpu) == "Some CPU 9000"
    assert free_memory(cpu) == 1_024_000
    monkeypatch.setattr(device, "memory_left", lambda: 5000)
    assert free_memory(cpu) == 5000
    info.unlink()
    memory.unlink()
    assert device_title(cpu)
    assert free_memory(cpu) is None
