"""What a grid would submit to SLURM; submits nothing, writes nothing and needs no SLURM."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import submitit
import treetable as tt
from dora.conf import SlurmConfig
from dora.hydra import HydraMain
from dora.shep import Sheep
from dora.xp import _get_sig
from omegaconf import DictConfig, OmegaConf

from mss.core.errors import ConfigError
from mss.eval.table import plural
from tools.grid_runs import GridRuns, epochs_done, finished


def plan(main: HydraMain, runs: GridRuns) -> str:
    """Return the runs of a grid, what differs between them, and each job's sbatch text.

    Raises:
        ConfigError: Dora or submitit refuses what a run asks of SLURM.
    """
    parts = [_overview(main, runs), _differences(runs.sheeps)]
    sheeps = {sheep.xp.sig: sheep for sheep in runs.sheeps}
    recorded = [sheep for sheep in runs.sheeps if sheep.job is not None]
    if recorded:
        jobs = ", ".join(f"{sheep.xp.sig} (job {sheep.current_job_id})" for sheep in recorded)
        parts.append(
            f"Submitted before: {jobs}. `dora grid` asks SLURM how these are, and submits only "
            "what failed, if told so by -r."
        )
    index = {sheep.xp.sig: number for number, sheep in enumerate(runs.sheeps)}
    for signatures in runs.submissions:
        array = [sheeps[sig] for sig in signatures if sheeps[sig].job is None]
        if array:
            numbers = ", ".join(str(index[sheep.xp.sig]) for sheep in array)
            kind = f"a job array of {len(array)}" if len(array) > 1 else "a job"
            slurm = runs.slurm[array[0].xp.sig]
            chain = f", and {slurm.dependents} after it" if slurm.dependents else ""
            text = sbatch_text(main, runs, array, slurm)
            parts.append(f"# {kind}{chain} for {numbers}\n{text.rstrip()}")
    return "\n\n".join(parts)


# -- runs --------------------------------------------------------------------------------------


def _overview(main: HydraMain, runs: GridRuns) -> str:
    names, base = main.get_names([sheep.xp for sheep in runs.sheeps])
    lines = [
        {
            "index": str(index),
            "sig": sheep.xp.sig,
            "epochs": _progress(sheep),
            "name": name,
            "gpus": str(runs.slurm[sheep.xp.sig].gpus),
        }
        for index, (sheep, name) in enumerate(zip(runs.sheeps, names, strict=True))
    ]
    columns = [
        tt.leaf("index", align=">"),
        tt.leaf("sig"),
        tt.leaf("epochs", align=">"),
        tt.leaf("gpus", align=">"),
        tt.leaf("name"),
    ]
    jobs = plural(len(runs.submissions), "submission")
    head = f"Grid {runs.name}: {plural(len(lines), 'run')} in {jobs}"
    common = f"In common: {base or 'nothing'}"
    return f"{head}\n{common}\n\n{_strip(tt.treetable(lines, tt.table(columns)))}"


def _progress(sheep: Sheep) -> str:
    done, of = epochs_done(sheep), sheep.xp.cfg.train.epochs
    if done is None:
        return f"-/{of}"
    return f"{done}/{of}{' tested' if finished(sheep) else ''}"


def _differences(sheeps: Sequence[Sheep]) -> str:
    """Return a table of the keys whose values are not the same in all runs."""
    if len(sheeps) == 1:
        return "One run: nothing differs."
    deltas = [dict(sheep.xp.delta or []) for sheep in sheeps]
    keys = list(dict.fromkeys(key for delta in deltas for key in delta))
    values = {
        key: [_value(sheep, delta, key) for sheep, delta in zip(sheeps, deltas, strict=True)]
        for key in keys
    }
    differing = [key for key, row in values.items() if len(set(row)) > 1]
    lines = [
        {"index": str(index), "sig": sheep.xp.sig} | {key: values[key][index] for key in differing}
        for index, sheep in enumerate(sheeps)
    ]
    columns = [tt.leaf("index", align=">"), tt.leaf("sig"), *(tt.leaf(key) for key in differing)]
    return f"What differs:\n\n{_strip(tt.treetable(lines, tt.table(columns)))}"


def _value(sheep: Sheep, delta: Mapping[str, Any], key: str) -> str:
    """Return a run's value of a key, also where it is the default."""
    if key in delta:
        return str(delta[key])
    found = OmegaConf.select(sheep.xp.cfg, key, throw_on_resolution_failure=False)
    # what stands there for a group is its content, not the choice
    return "-" if found is None or isinstance(found, DictConfig) else str(found)


def _strip(table: str) -> str:
    return "\n".join(line.rstrip() for line in table.splitlines())


# -- jobs --------------------------------------------------------------------------------------


def sbatch_text(
    main: HydraMain, runs: GridRuns, sheeps: Sequence[Sheep], slurm: SlurmConfig
) -> str:
    """Return the file that `dora grid` would have submitit give to sbatch for a job or an array.

    Dora computes what to ask for, submitit writes the text; only submitit's look for srun on this
    machine is left out.

    Raises:
        ConfigError: Dora or submitit refuses the settings.
    """
    first = sheeps[0].xp
    if len(sheeps) > 1:  # names and folders as in dora.shep.Shepherd._submit
        name = f"{main.name}_array_{_get_sig(sorted(sheep.xp.sig for sheep in sheeps))}"
        folder = main.dora.dir / main.dora.shep.arrays / name
    else:
        name, folder = f"{main.name}_{first.sig}", first._xp_submitit
    with _any_machine(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            executor = runs.shepherd._get_submitit_executor(name, folder, slurm)
        except ValueError as error:
            raise ConfigError(f"slurm: {error}") from error
        if len(sheeps) > 1:
            # submitit submits an array by a copy of the executor
            array = submitit.SlurmExecutor(executor.folder, executor.max_num_timeout)
            array.update_parameters(**executor.parameters)
            array.parameters["map_count"] = len(sheeps)
            executor = array
        return str(executor._make_submission_file_text(executor._submitit_command_str, uid=""))


@contextmanager
def _any_machine() -> Iterator[None]:
    """Let submitit write a job's text where there is no SLURM."""
    with mock.patch.object(submitit.SlurmExecutor, "affinity", return_value=2):
        yield
