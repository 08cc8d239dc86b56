"""A pipeline with all of its signatures: what is done, and what is still to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from dora.conf import SlurmConfig
from dora.xp import XP

from grids._history import is_finished
from mss.core.errors import ConfigError, nearest_name_hint
from tools.pipeline_folder import StepFolder, Task
from tools.pipeline_steps import Step


@dataclass(frozen=True)
class PlannedStep:
    """A step with its signature and whatever follows from it.

    Attributes:
        step: as the pipeline's file says it.
        id: its kind and signature, which is the name of its folder.
        value: what `signature` of the step stands for.
        path: what `path` of the step stands for.
        folder: of the step.
        task: what is to be done; None for given data.
        xp: Dora's run, where it is one.
        slurm: what its job asks for.
    """

    step: Step
    id: str
    value: str
    path: Path
    folder: StepFolder
    task: Task | None = None
    xp: XP | None = None
    slurm: SlurmConfig | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps, and of the given data, that it is made from."""
        return tuple(step.name for step in self.step.inputs())

    def is_done(self) -> bool:
        """Whether there is nothing left to do. A run may have been trained by a grid."""
        if self.task is None or self.folder.is_done():
            return True
        return self.xp is not None and is_finished(self.xp.folder, self.xp.cfg.train.epochs)


@dataclass(frozen=True)
class Plan:
    """A pipeline with all of its signatures.

    Attributes:
        name: of the pipeline.
        root: folder of all pipelines' steps.
        steps: by name, each behind those that it needs.
    """

    name: str
    root: Path
    steps: Mapping[str, PlannedStep]

    def needed(self, until: str | None = None) -> dict[str, PlannedStep]:
        """Return what is to be done for `until`, or for all of the pipeline, in order.

        A step that is not done is not needed where everything that is made from it is there.
        """
        wanted = {until} if until is not None else set(self.steps)
        if until is None:
            wanted -= {name for planned in self.steps.values() for name in planned.needs}
        todo: set[str] = set()
        for name in reversed(list(self.steps)):
            planned = self.steps[name]
            if name in wanted and not planned.is_done():
                todo.add(name)
                wanted |= set(planned.needs)
        return {name: planned for name, planned in self.steps.items() if name in todo}

    def behind(self, name: str) -> list[str]:
        """Return a step and all that is made from it, in order."""
        found = {name}
        for other, planned in self.steps.items():
            if found & set(planned.needs):
                found.add(other)
        return [other for other in self.steps if other in found]

    def sorter(self, names: Iterable[str]) -> TopologicalSorter[str]:
        """Return the graph of some of the steps."""
        chosen = list(names)
        return TopologicalSorter(
            {name: [need for need in self.steps[name].needs if need in chosen] for name in chosen}
        )

    def require(self, name: str, option: str) -> None:
        """Make sure that there is such a step.

        Raises:
            ConfigError: there is none, or it is given data.
        """
        known = [other for other, planned in self.steps.items() if planned.task is not None]
        if name not in known:
            raise ConfigError(
                f"{option} {name}: {self.name} has no such step.{nearest_name_hint(name, known)}"
            )
