"""From the steps of a pipeline to signatures, folders and commands, before anything runs."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dora.conf import SlurmConfig
from dora.hydra import HydraMain

import tools.pipelines
from grids._base import preset
from mss.compose import check_overrides
from mss.core.errors import ConfigError, nearest_name_hint
from mss.release.repo import LOCAL_REPO, REPO_VARIABLE
from mss.solver.checkpoint import checkpoint_path
from tools.grid_runs import compose_xp
from tools.pipeline_content import content_signature, signature
from tools.pipeline_folder import StepFolder, Task
from tools.pipeline_plan import Plan, PlannedStep
from tools.pipeline_steps import (
    Data,
    Export,
    Location,
    Output,
    Pipeline,
    Signature,
    Step,
    Tool,
    Train,
)

FOLDER, STEPS = "pipelines", "steps"


def pipeline_names() -> list[str]:
    """Return the pipelines there are."""
    return sorted(module.name for module in pkgutil.iter_modules(tools.pipelines.__path__))


def load_pipeline(name: str) -> Pipeline:
    """Return a pipeline's steps.

    Raises:
        ConfigError: there is no such pipeline, or its file does not define one.
    """
    known = pipeline_names()
    if name not in known:
        raise ConfigError(f"{name}: there is no such pipeline.{nearest_name_hint(name, known)}")
    declare = getattr(importlib.import_module(f"tools.pipelines.{name}"), "pipeline", None)
    if not callable(declare):
        raise ConfigError(
            f"tools/pipelines/{name}.py: holds no function `pipeline(p: Pipeline)`; add one"
        )
    made = Pipeline()
    declare(made)
    if not any(not isinstance(step, Data) for step in made.steps.values()):
        raise ConfigError(f"tools/pipelines/{name}.py: this pipeline has no steps; add one")
    return made


def make_plan(
    main: HydraMain,
    name: str,
    pipeline: Pipeline,
    data: Mapping[str, Path] | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Return what a pipeline comes to; starts and writes nothing.

    Args:
        main: of the lab.
        name: of the pipeline.
        pipeline: its steps.
        data: where the data lies that it is given.
        overrides: for every run, of keys outside the signature.

    Raises:
        ConfigError: an override, a setting of a job or a name is wrong; a run's signature would not
            tell what it is made from; data is not named.
        DataError: given data can't be read.
    """
    _check_outside(main, overrides)
    planner = _Planner(main, pipeline, dict(data or {}), overrides)
    return Plan(name, planner.root, planner.plan())


def _check_outside(main: HydraMain, overrides: Sequence[str]) -> None:
    """Make sure that overrides leave the signatures as the pipeline's file makes them."""
    check_overrides(overrides)
    for override in overrides:
        if not main.dora.is_excluded(override.split("=", 1)[0].lstrip("+")):
            raise ConfigError(
                f"{override}: would make other runs than the pipeline's; only keys outside the "
                "signature can be given here, such as misc.workers"
            )


class _Planner:
    """Goes from step to step with what those before it came to."""

    def __init__(
        self,
        main: HydraMain,
        pipeline: Pipeline,
        data: Mapping[str, Path],
        overrides: Sequence[str],
    ) -> None:
        self.main = main
        self.pipeline = pipeline
        self.data = data
        self.overrides = list(overrides)
        self.root = from_here(Path(main.dora.dir) / FOLDER)
        self.repo = Path(os.environ.get(REPO_VARIABLE, "").strip() or LOCAL_REPO).expanduser()
        self.planned: dict[str, PlannedStep] = {}

    def plan(self) -> dict[str, PlannedStep]:
        known = [step.name for step in self.pipeline.steps.values() if isinstance(step, Data)]
        for name in self.data:
            if name not in known:
                hint = nearest_name_hint(name, known)
                raise ConfigError(f"--data {name}: the pipeline takes no such data.{hint}")
        for name, step in self.pipeline.steps.items():  # each behind those that it refers to
            if isinstance(step, Data):
                self.planned[name] = self._given(step)
            elif isinstance(step, Train):
                self.planned[name] = self._run(step)
            elif isinstance(step, Export):
                self.planned[name] = self._export(step)
            else:
                assert isinstance(step, Tool)
                self.planned[name] = self._tool(step)
        self._check_each_is_another()
        return self.planned

    def _check_each_is_another(self) -> None:
        names: dict[str, str] = {}
        for name, planned in self.planned.items():
            first = names.setdefault(planned.id, name)
            if first != name and planned.task is not None:
                raise ConfigError(
                    f"{name}: is the same as {first} ({planned.id}); leave it out and refer to "
                    f"{first}"
                )

    # -- the kinds of steps --------------------------------------------------------------------

    def _given(self, step: Data) -> PlannedStep:
        path = self.data.get(step.name)
        if path is None:
            raise ConfigError(
                f"{step.name}: the pipeline is made from {step.about}; say where that lies by "
                f"--data {step.name}=PATH"
            )
        id = f"data-{content_signature(path)}"
        return PlannedStep(step, id, id, from_here(path), self._folder(id))

    def _run(self, step: Train) -> PlannedStep:
        check_edges(self.main, step)
        values = {key: self._plain(value) for key, value in step.overrides.items()}
        xp = compose_xp(self.main, [*self.main.value_to_argv(values), *self.overrides])
        id = f"train-{xp.sig}"
        run = from_here(Path(xp.folder))
        task = Task(
            step=step.name,
            id=id,
            module="dora",
            arguments=("-P", "mss", "run", *xp.argv),
            distributed=("-d", "--ddp_workers={ranks}"),
            leading=3,
            inputs=self._inputs(step),
            expected=(glob.escape(str(checkpoint_path(run))),),
            resumes=True,
            environment=self._environment(),
        )
        return PlannedStep(
            step, id, str(xp.sig), run, self._folder(id), task, xp, self._job(step.slurm)
        )

    def _export(self, step: Export) -> PlannedStep:
        run = self.planned[step.of.name]
        assert run.xp is not None
        id = f"export-{signature(['export', run.value, step.licence])}"
        released = f"{run.xp.cfg.model.name}-{run.value}-{'?' * 8}.safetensors"
        task = Task(
            step=step.name,
            id=id,
            module="tools.export",
            arguments=(run.value, "-o", str(self.repo), "--licence", step.licence),
            inputs=self._inputs(step),
            expected=(f"{glob.escape(str(self.repo))}/{released}",),
            environment=self._environment(),
        )
        small = preset("cpu", time=60)
        return PlannedStep(
            step, id, run.value, self.repo, self._folder(id), task, None, self._job(small)
        )

    def _tool(self, step: Tool) -> PlannedStep:
        if not _is_module(step.module):
            raise ConfigError(f"{step.name}: {step.module}: there is no such module to run")
        key = [self._key(argument) for argument in step.arguments]
        name = step.module.rpartition(".")[2]
        id = f"{name}-{signature(['tool', step.module, step.version, key])}"
        folder = self._folder(id)
        written = [argument for argument in step.arguments if isinstance(argument, Output)]
        task = Task(
            step=step.name,
            id=id,
            module=step.module,
            arguments=tuple(str(self._plain(a, folder)) for a in step.arguments),
            inputs=self._inputs(step),
            expected=tuple(
                f"{glob.escape(str(folder.out))}/{glob.escape(output.below) or '*'}"
                for output in written
            ),
            resumes=step.resumes,
            environment=self._environment(),
        )
        slurm = self._job(step.slurm, most_gpus=1)  # one process
        return PlannedStep(step, id, id, folder.out, folder, task, None, slurm)

    # -- what they share -----------------------------------------------------------------------

    def _folder(self, id: str) -> StepFolder:
        return StepFolder(self.root / STEPS / id)

    def _inputs(self, step: Step) -> dict[str, str]:
        return {needed.name: self.planned[needed.name].id for needed in step.inputs()}

    def _environment(self) -> dict[str, str]:
        # a run finds its teacher where the exports go
        return {REPO_VARIABLE: str(self.repo)}

    def _plain(self, value: Any, folder: StepFolder | None = None) -> Any:
        """Return what a value stands for."""
        if isinstance(value, Signature):
            return self.planned[value.step.name].value
        if isinstance(value, Location):
            return str(self.planned[value.step.name].path / value.below)
        if isinstance(value, Output):
            assert folder is not None
            return str(folder.out / value.below)
        return value

    def _key(self, argument: Any) -> Any:
        """Return what an argument adds to the tool's signature: no path of this machine."""
        if isinstance(argument, (Signature, Location)):
            below = argument.below if isinstance(argument, Location) else None
            return [type(argument).__name__, self.planned[argument.step.name].id, below]
        if isinstance(argument, Output):
            return ["Output", argument.below]
        return str(argument)

    def _job(self, own: Mapping[str, Any], most_gpus: int | None = None) -> SlurmConfig:
        slurm: SlurmConfig = self.main.get_slurm_config()
        known = list(vars(slurm))
        for key, value in {**self.pipeline.slurm, **own}.items():
            if key not in known:
                raise ConfigError(
                    f"slurm: {key} is no setting of a job.{nearest_name_hint(key, known)}"
                )
            setattr(slurm, key, value)
        if most_gpus is not None and slurm.gpus > most_gpus:
            slurm.gpus = most_gpus
        return slurm


def check_edges(main: HydraMain, step: Train) -> None:
    """Make sure that a run's signature tells what it is made from, and nothing of this machine.

    Raises:
        ConfigError: a path would enter the signature, or what the run depends on would not.
    """
    told: list[Step] = []
    for key, value in step.overrides.items():
        outside = main.dora.is_excluded(key)
        if isinstance(value, Location) and not outside:
            raise ConfigError(
                f"{step.name}: {key}: a path would enter the run's signature, so the same run "
                "would be another one elsewhere; give it by a key that dora.exclude in "
                "conf/config.yaml names"
            )
        if isinstance(value, Signature) and not outside:
            told.append(value.step)
    for known in told:  # grows: a signature tells of all that went into it
        told += [before for before in known.inputs() if before not in told]
    for needed in step.inputs():
        if needed not in told:
            raise ConfigError(
                f"{step.name}: depends on {needed.name}, of which its signature tells nothing; "
                f"give {needed.name}.signature to a key that names it, such as dset.name"
            )


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of its package
        return False


def from_here(path: Path) -> Path:
    """Return a path as the current folder sees it, where it lies below that."""
    path = Path(os.path.abspath(path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
