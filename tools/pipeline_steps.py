"""What a pipeline is made of: its steps, and how one refers to what another gives.

A pipeline is a file in tools/pipelines that holds one function::

    def pipeline(p: Pipeline) -> None:
        songs = p.data("songs", "recordings of which there are no stems")
        teacher = p.train("teacher", {"dset": "musdb18hq"})
        released = p.export("released", of=teacher)
        labels = p.tool(
            "labels", "tools.pseudo_label", "--teacher", released.model, "--in", songs.path,
            "--out", OUT,
        )
        p.train("student", {"distill.root": labels.path, "distill.labels": labels.signature})

A step refers to another by what that one gives: its `signature` says what it is and goes into the
signature of whoever uses it; its `path` says where it lies and goes into none. Both are known
before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from mss.core.errors import ConfigError
from mss.release.header import NO_LICENCE


@dataclass(frozen=True)
class Signature:
    """Stands for what names a step's result."""

    step: Step


@dataclass(frozen=True)
class Location:
    """Stands for where a step's result lies, or a file `below` that folder."""

    step: Step
    below: str = ""

    def __truediv__(self, name: str) -> Location:
        return Location(self.step, f"{self.below}/{name}" if self.below else name)


@dataclass(frozen=True)
class Output:
    """Stands for the folder of a tool's own results, or a file `below` it, which it is to write."""

    below: str = ""

    def __truediv__(self, name: str) -> Output:
        return Output(f"{self.below}/{name}" if self.below else name)


OUT = Output()
"""The folder that a tool step writes into."""

Value: TypeAlias = (
    str | int | float | bool | list[Any] | dict[str, Any] | Signature | Location | None
)
"""Of an override. Where it stands for a step it does so as a whole, not inside of a list."""

Argument: TypeAlias = str | int | float | Signature | Location | Output
"""Of a tool's command line."""


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph.

    Attributes:
        name: in its pipeline; no part of a signature.
        slurm: what its job asks for, over what the pipeline asks for.
    """

    name: str
    slurm: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def signature(self) -> Signature:
        """Names what the step gives."""
        return Signature(self)

    @property
    def path(self) -> Location:
        """Where that lies: the given folder or file, the run's folder, the folder of released
        models, or the folder of the tool's results."""
        return Location(self)

    def inputs(self) -> tuple[Step, ...]:
        """Return the steps that this one needs, each once."""
        return ()


@dataclass(frozen=True, eq=False)
class Data(Step):
    """A folder or file that no step makes; its signature is that of its content.

    Attributes:
        about: what it holds, for who has to name it.
    """

    about: str


@dataclass(frozen=True, eq=False)
class Train(Step):
    """A run of `dora run`; its signature is Dora's.

    Attributes:
        overrides: of the configuration.
    """

    overrides: Mapping[str, Value]

    def inputs(self) -> tuple[Step, ...]:
        """Return the steps that the overrides refer to."""
        return _referred(self.overrides.values())


@dataclass(frozen=True, eq=False)
class Export(Step):
    """The release of a run.

    Attributes:
        of: the run.
        licence: of its weights.
    """

    of: Train
    licence: str = NO_LICENCE

    @property
    def model(self) -> Signature:
        """Names the model in the folder of released models."""
        return self.signature

    def inputs(self) -> tuple[Step, ...]:
        """Return the run."""
        return (self.of,)


@dataclass(frozen=True, eq=False)
class Tool(Step):
    """A command, ``python -m MODULE ARGUMENTS``.

    Attributes:
        module: of the command.
        arguments: of the command. What they name by `OUT / name` has to be there at the end.
        resumes: started again, it goes on with what it left in its folder; else that is removed
            before.
        version: raise it where the tool gives something else for the same arguments than it did.
    """

    module: str
    arguments: tuple[Argument, ...]
    resumes: bool = False
    version: int = 1

    def inputs(self) -> tuple[Step, ...]:
        """Return the steps that the arguments refer to."""
        return _referred(self.arguments)


def _referred(values: Any) -> tuple[Step, ...]:
    """Return the steps that some of the values stand for, each once, in order."""
    steps = (value.step for value in values if isinstance(value, (Signature, Location)))
    return tuple(dict.fromkeys(steps))


AnyStep = TypeVar("AnyStep", bound=Step)


class Pipeline:
    """Collects steps, each of which can refer only to those before it.

    Attributes:
        steps: by name, in order.
        slurm: what the jobs ask for, as of ``launcher.slurm_`` in a grid.
    """

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.slurm: dict[str, Any] = {}

    def slurm_(self, **settings: Any) -> None:
        """Say what the jobs of all steps ask for, but for exports (``**preset("a100x8")``)."""
        self.slurm |= settings

    def data(self, name: str, about: str) -> Data:
        """Add a folder or file that whoever runs the pipeline names by ``--data NAME=PATH``."""
        return self._add(Data(name, about))

    def train(
        self, name: str, overrides: Mapping[str, Value], slurm: Mapping[str, Any] | None = None
    ) -> Train:
        """Add a run.

        Args:
            name: of the step.
            overrides: of the configuration, as a grid binds them. Every step that the run depends
                on has to stand in one that makes part of the signature.
            slurm: what its job asks for, over what the pipeline does.
        """
        return self._add(Train(name, dict(overrides), slurm=dict(slurm or {})))

    def export(self, name: str, of: Train, licence: str = NO_LICENCE) -> Export:
        """Add the release of a run's best model, in the folder of released models."""
        return self._add(Export(name, of, licence))

    def tool(
        self,
        name: str,
        module: str,
        *arguments: Argument,
        resumes: bool = False,
        version: int = 1,
        slurm: Mapping[str, Any] | None = None,
    ) -> Tool:
        """Add a command; see Tool."""
        return self._add(Tool(name, module, arguments, resumes, version, slurm=dict(slurm or {})))

    def _add(self, step: AnyStep) -> AnyStep:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", step.name):
            raise ConfigError(
                f"{step.name!r}: no name of a step; use small letters, digits and underscores"
            )
        if step.name in self.steps:
            raise ConfigError(f"{step.name}: two steps have this name; rename one")
        for needed in step.inputs():
            if self.steps.get(needed.name) is not needed:
                raise ConfigError(
                    f"{step.name}: refers to {needed.name} of another pipeline; add that step to "
                    "this one"
                )
        self.steps[step.name] = step
        return step
