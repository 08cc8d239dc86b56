"""Where the models run: which device, what it is called, and how much memory it has left."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from mss.api.cgroup import memory_left
from mss.core.errors import ConfigError

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto": the first accelerator there is, else the CPU.

    Raises:
        ConfigError: no such device, or this machine has none.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"--device {name}: can't be used here ({str(error).splitlines()[0]}). "
            "Leave the option out, or give cpu."
        ) from error
    return device


def device_title(device: torch.device) -> str:
    """Return what a device's maker calls it, such as "NVIDIA A100" or "AMD EPYC 7763"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "CPU"


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that may still be taken on a device; None: nothing tells.

    On the CPU: what Linux calls available, or less where a control group limits it.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    if device.type != "cpu" or not _MEMINFO.exists():
        return None
    for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            available = 1024 * int(value.split()[0])
            left = memory_left()
            return available if left is None else min(available, left)
    return None
