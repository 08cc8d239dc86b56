"""In which number format the network computes, and what that asks of the gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.solver.errors import GradientError
from mss.solver.optim import Adam

PrecisionName = Literal["float32", "bf16", "fp16"]

MAX_SKIPPED = 50
"""Updates in a row that fp16 may leave out; the scale halves at each, so 2^-50 of it is left."""


class Precision:
    """float32 as it is, or autocast to bf16 or fp16; fp16 with a gradient scaler.

    The weights, their averages and the loss stay float32. fp16's small range is met by scaling the
    loss (Micikevicius et al. 2018): an update whose scaled gradients overflow is left out and the
    scale is halved, which is no fault until it happens without end.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        if name not in get_args(PrecisionName):
            known = ", ".join(get_args(PrecisionName))
            raise ConfigError(f"train.precision: {name!r} is none of {known}")
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(
                f"train.precision: fp16 needs a GPU, and this run has {device.type}; "
                "take bf16 or float32"
            )
        self.name = name
        self.device = device
        self.skipped = 0  # updates left out in a row
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that the forward pass runs in."""
        if self.name == "float32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled where the format asks for it."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optim: Adam) -> Tensor:
        """Unscale, clip, step. Returns the gradients' L2 norm before clipping.

        Raises:
            GradientError: the norm is not finite (fp16: it was not `MAX_SKIPPED` times in a row);
                no step was made.
        """
        self._scaler.unscale_(optim.optimizer)
        norm = optim.clip()
        if not torch.isfinite(norm):
            self.skipped += 1
            if self.name != "fp16" or self.skipped > MAX_SKIPPED:
                raise GradientError(f"the norm of the gradient is {norm.item()}")
        else:
            self.skipped = 0
        self._scaler.step(optim.optimizer)  # leaves the step out if a gradient is not finite
        self._scaler.update()
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name, "scaler": self._scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the scale back; a run that goes on in another format starts a new one."""
        if state["name"] == self.name:
            self._scaler.load_state_dict(state["scaler"])
            self.skipped = state["skipped"]
