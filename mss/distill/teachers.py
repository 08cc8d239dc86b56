"""Teachers made of the student itself: its weights as they were, or their running average."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mss.core import distrib
from mss.core.separator import Separator
from mss.distill.surroundings import Surroundings


class OwnTeacher(ABC):
    """A copy of the student, outside of what is trained, wrapped or averaged for validation.

    Every rank holds the same one: it is made of the same weights, and the main rank's buffers
    (running statistics, which each rank has of its own share) are given to all.
    """

    def __init__(self, run: Surroundings) -> None:
        self.run = run
        self.parts = run.parts
        self.model: Separator | None = None  # none yet: nobody has been taught

    @property
    def ready(self) -> bool:
        """Whether it can teach."""
        return self.model is not None

    def __call__(self, mix: Tensor) -> Tensor:
        """Separate [B, C, T] into [B, S, C, T] in evaluation mode, without gradients."""
        assert self.model is not None, "a teacher that is not ready was asked"
        return torch.cat([self._separate(self.model, part) for part in mix.chunk(self.parts)])

    def _separate(self, model: Separator, mix: Tensor) -> Tensor:
        with torch.no_grad(), self.run.autocast():
            wave: Tensor = model(mix).wave
        return wave.float()

    @contextmanager
    def rehearsal(self, mix: Tensor) -> Iterator[None]:
        """See TargetProvider."""
        model = self._future() if self.model is None else self.model
        self._separate(model, mix)
        yield  # with the model

    @abstractmethod
    def _future(self) -> Separator:
        """Return a model of the size that the teacher will have when it is ready."""

    def on_step(self, model: nn.Module) -> None:  # noqa: B027  (a hook, empty by default)
        """Take notice of the student after an update."""

    def on_epoch_end(self, model: nn.Module) -> None:  # noqa: B027
        """Take notice of the student after an epoch."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs; empty while it is not ready."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s result back."""

    def _copy(self, model: nn.Module) -> Separator:
        teacher = copy.deepcopy(model).requires_grad_(False).eval()
        assert isinstance(teacher, Separator)
        for parameter in teacher.parameters():
            parameter.grad = None
        return teacher


class Snapshot(OwnTeacher):
    """The student as it was at the end of the last epoch."""

    def on_epoch_end(self, model: nn.Module) -> None:
        if self.model is None:
            self.model = self._copy(model)
        else:
            self.model.load_state_dict(model.state_dict())
        distrib.broadcast_weights(self.model)

    def _future(self) -> Separator:
        return self._copy(self.run.model)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.model is None else {"model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model = None
        if state:
            self.model = self._copy(self.run.model)
            self.model.load_state_dict(state["model"])


class Average(OwnTeacher):
    """The exponential moving average of the student's weights, by updates.

    Args:
        run: the run.
        decay: of the average at an update.
    """

    def __init__(self, run: Surroundings, decay: float) -> None:
        super().__init__(run)
        self._average = AveragedModel(
            run.model,
            multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self._average.requires_grad_(False).eval()
        self._own_statistics = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in run.model.modules()
        )

    @property
    def ready(self) -> bool:
        return self.model is not None

    def on_step(self, model: nn.Module) -> None:
        self._average.update_parameters(model)
        if self._own_statistics:
            distrib.broadcast_buffers(self._average)
        self._take()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.model is None else {"average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model = None
        if state:
            self._average.load_state_dict(state["average"])
            self._take()

    def _take(self) -> None:
        self.model = self._future()

    def _future(self) -> Separator:
        model = self._average.module
        assert isinstance(model, Separator)
        return model.eval()
