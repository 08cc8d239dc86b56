"""Optimisers, and the one update that a training step makes with them."""

from __future__ import annotations

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
        if self.lr <= 0:
            raise ConfigError(f"optim.lr: {self.lr} is not positive")
        if self.clip_norm < 0:
            raise ConfigError(f"optim.clip_norm: {self.clip_norm} is negative; 0 turns it off")


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
        """Backward, clip, step. Returns the gradients' global L2 norm before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self.config.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        self.optimizer.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    torch_class = torch.optim.AdamW
