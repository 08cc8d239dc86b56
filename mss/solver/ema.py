"""Exponential moving averages of the weights: by update and by epoch.

Each average is a candidate of its own: it is validated beside the raw weights, and the best of all
is what a run keeps. `torch.optim.swa_utils.AveragedModel` does the averaging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mss.core.errors import ConfigError


@dataclass(frozen=True)
class EmaConfig:
    """Decays; 0 builds no average.

    Attributes:
        step: decay an update, such as 0.999.
        epoch: decay an epoch, such as 0.9.
    """

    step: float = 0.0
    epoch: float = 0.0

    def __post_init__(self) -> None:
        for key in ("step", "epoch"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"ema.{key}: {getattr(self, key)} is not in [0, 1)")


class Ema:
    """The averages of one model, buffers included."""

    def __init__(self, config: EmaConfig, model: nn.Module) -> None:
        self._by_step = {"ema_step": config.step} if config.step else {}
        self._by_epoch = {"ema_epoch": config.epoch} if config.epoch else {}
        self.models = {
            name: AveragedModel(
                model,
                multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
            for name, decay in (self._by_step | self._by_epoch).items()
        }

    def on_step(self, model: nn.Module) -> None:
        """Call after every update."""
        for name in self._by_step:
            self.models[name].update_parameters(model)

    def on_epoch(self, model: nn.Module) -> None:
        """Call at the end of every epoch, before its validation."""
        for name in self._by_epoch:
            self.models[name].update_parameters(model)

    def candidates(self) -> dict[str, nn.Module]:
        """Return the averaged models by name."""
        return {name: average.module for name, average in self.models.items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: average.state_dict() for name, average in self.models.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, average in self.models.items():
            average.load_state_dict(state[name])
