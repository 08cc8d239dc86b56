"""Target providers: what a model should give for a batch, decided by a chain.

The chain starts at the mapped references (`mss.distill.references`); distillation adds providers
behind it, so the solver has no branch for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from mss.core.types import Batch, Progress, Target


class TargetProvider(ABC):
    """One link of the chain."""

    @abstractmethod
    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        """Return the target of an (augmented) batch, given that of the links before."""

    needs_estimates: bool = False
    """Whether `on_estimate` is to be called."""

    def on_estimate(self, batch: Batch, waves: Tensor, progress: Progress) -> None:  # noqa: B027
        """Take notice of what the model gave for a batch, [B, S, C, T] without gradients."""

    def on_step(self, model: nn.Module) -> None:  # noqa: B027
        """Take notice of the weights after an update (an averaged teacher does)."""

    def on_epoch_end(self, model: nn.Module) -> None:  # noqa: B027  (a hook, empty by default)
        """Take notice of the weights at the end of an epoch (a snapshot teacher does)."""

    def compute_in(self, parts: int) -> None:  # noqa: B027
        """Take notice of the number of parts in which a rank's share of a batch is computed."""

    def rehearsal(self, mix: Tensor) -> AbstractContextManager[None]:
        """Return a context that takes the memory which teaching one part will take.

        Entering it runs a teacher on [B, C, T], whether or not it teaches yet, and what a teacher
        keeps is held until its end. It leaves no trace, and no other rank has to take part.
        """
        del mix
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values that a resume needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s result back."""
        assert not state, f"{type(self).__name__} has no state, but the checkpoint holds {state}"


class TargetChain(TargetProvider):
    """Providers applied in order, each to the target of the one before."""

    def __init__(self, links: dict[str, TargetProvider]) -> None:
        assert links
        self.links = links

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        for link in self.links.values():
            target = link(batch, target, progress)
        assert target is not None
        return target

    @property
    def needs_estimates(self) -> bool:  # type: ignore[override]
        return any(link.needs_estimates for link in self.links.values())

    def on_estimate(self, batch: Batch, waves: Tensor, progress: Progress) -> None:
        for link in self.links.values():
            if link.needs_estimates:
                link.on_estimate(batch, waves, progress)

    def on_step(self, model: nn.Module) -> None:
        for link in self.links.values():
            link.on_step(model)

    def on_epoch_end(self, model: nn.Module) -> None:
        for link in self.links.values():
            link.on_epoch_end(model)

    def compute_in(self, parts: int) -> None:
        for link in self.links.values():
            link.compute_in(parts)

    @contextmanager
    def rehearsal(self, mix: Tensor) -> Iterator[None]:
        with ExitStack() as stack:
            for link in self.links.values():
                stack.enter_context(link.rehearsal(mix))
            yield

    def state_dict(self) -> dict[str, Any]:
        return {name: link.state_dict() for name, link in self.links.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, link in self.links.items():
            link.load_state_dict(state[name])
