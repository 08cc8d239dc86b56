"""Optimisers, and the one update that a training step makes with them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.solver.errors import GradientError


@dataclass(frozen=True)
class OptimConfig:
    """Keys of every optimiser.

    Attributes:
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty (adam) or decoupled decay (adamw, Loshchilov & Hutter 2019).
        clip_norm: largest L2 norm of all gradients together, 0: no clipping.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        # written so that NaN, which compares false with everything, fails too
        for key in ("lr", "eps"):
            if not 0 < getattr(self, key) < math.inf:
                raise ConfigError(f"optim.{key}: {getattr(self, key)} is not a positive number")
        for beta in self.betas:
            if not 0 <= beta < 1:
                raise ConfigError(f"optim.betas: {beta} is not in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"optim.weight_decay: {self.weight_decay} is not 0 or positive")
        if not self.clip_norm >= 0:
            raise ConfigError(
                f"optim.clip_norm: {self.clip_norm} is not 0 (which turns it off) or positive"
            )


class Adam:
    """Adam (Kingma & Ba 2015) with an optional clip of the global gradient norm."""

    Config: ClassVar[type[OptimConfig]] = OptimConfig
    torch_class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam

    def __init__(self, config: OptimConfig, parameters: Iterable[nn.Parameter]) -> None:
        self.config = config
        self.parameters = [p for p in parameters if p.requires_grad]
        make: Any = self.torch_class
        self.optimizer: torch.optim.Optimizer = make(
            self.parameters,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )

    def update(self, loss: Tensor) -> Tensor:
        """Backward, clip, step. Returns the gradients' global L2 norm before clipping.

        Raises:
            GradientError: the norm is not finite; no step was made.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self.config.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        if not math.isfinite(norm.item()):
            raise GradientError(f"the norm of the gradient is {norm.item()}")
        self.optimizer.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what belongs to each parameter; rate, betas and so on stay the config's."""
        own = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["state"], "param_groups": own})


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    torch_class = torch.optim.AdamW
