"""The device that a process trains or scores on."""

from __future__ import annotations

import torch

from mss.core.errors import ConfigError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that misc.device names; "auto" is a GPU where there is one.

    Args:
        name: of the device.
        local_rank: of this process among those on its machine; each has a GPU of its own, unless
            `name` says which.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.device_count():
        # a scheduler may show each process its own GPU alone
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("models do not run on it")
        torch.empty(1, device=device)
    # torch built without CUDA asserts instead of raising a RuntimeError
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"misc.device: {name!r} can't be used ({reason}); use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
