"""Optimisers: their keys, the clip of the gradient, and what a resume keeps of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mss.core.errors import ConfigError


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

    def __init__(
        self, config: OptimConfig, parameters: Iterable[nn.Parameter], fused: bool = False
    ) -> None:
        """Prepare to update `parameters`, which are on their device.

        Args:
            config: keys of the optimiser.
            parameters: of the model; those that need no gradient are left out.
            fused: update them in one kernel, equal but for rounding.
        """
        self.config = config
        self.parameters = [p for p in parameters if p.requires_grad]
        make: Any = self.torch_class
        self.optimizer: torch.optim.Optimizer = make(
            self.parameters,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=fused or None,  # None: torch's own choice among the others
        )

    def zero_grad(self) -> None:
        """Forget the gradients of the update before."""
        self.optimizer.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Clip the gradients together; return their L2 norm before it."""
        limit = self.config.clip_norm or math.inf
        return torch.nn.utils.clip_grad_norm_(self.parameters, limit)

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what belongs to each parameter; rate, betas and so on stay the config's."""
        own = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["state"], "param_groups": own})
        # A fused kernel walks through the memory of a weight and of its moments side by side, so
        # these take over its layout (misc.channels_last may have changed since).
        for parameter, kept in self.optimizer.state.items():
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    kept[name] = torch.empty_like(parameter).copy_(value)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    torch_class = torch.optim.AdamW
