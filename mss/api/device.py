"""Where the models run."""

from __future__ import annotations

import torch

from mss.core.errors import ConfigError


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
