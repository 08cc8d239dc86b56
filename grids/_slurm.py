"""What grids ask of SLURM: presets by name, and whether it is there at all."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from typing import Any

from dora.conf import SlurmConfig
from omegaconf import OmegaConf

from mss.compose import CONF
from mss.core.errors import ConfigError, nearest_name_hint

SACCT_SECONDS = 60  # a busy accounting database takes its time

# How large a job is (srun_args may say how many tasks it has). Dora's other settings say where it
# goes and how that place wants it.
_SIZE = (
    "gpus", "mem_per_gpu", "time", "cpus_per_gpu", "cpus_per_task", "one_task_per_node",
    "srun_args", "array_parallelism", "max_num_timeout", "dependents",
)  # fmt: skip


def preset(name: str, **changes: Any) -> dict[str, Any]:
    """Return conf/slurm/NAME.yaml as keyword arguments of ``launcher.slurm_``.

    It says all of a job's size, whatever the default preset (MSS_SLURM) says. Where jobs go, and
    how that place wants them, stays with the default preset and `dora grid -p`, except for what the
    file names itself: a partition or an account that a variable of the environment names is the
    same for all presets.

    Args:
        name: of a file in conf/slurm, without its ending.
        changes: settings that are to differ from the file's.

    Raises:
        ConfigError: there is no such preset, or a key is no setting of a job.
    """
    folder = CONF / "slurm"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"slurm preset {name}: not there.{nearest_name_hint(name, known)}")
    content = OmegaConf.load(folder / f"{name}.yaml")
    raw = OmegaConf.to_container(content, resolve=False)
    resolved = OmegaConf.to_container(content, resolve=True)
    assert isinstance(raw, dict)
    assert isinstance(resolved, dict)
    of_the_site = [
        key for key in ("partition", "account") if str(raw.get(key, "")).startswith("${oc.env:")
    ]
    own = {str(key): value for key, value in resolved.items() if key not in of_the_site}
    fields = asdict(SlurmConfig())
    values = {key: fields[key] for key in _SIZE} | own | changes
    for key in values:
        if key not in fields:
            raise ConfigError(
                f"conf/slurm/{name}.yaml: {key} is no setting of a job."
                f"{nearest_name_hint(key, fields)}"
            )
    return values


def require_slurm(grid: str) -> None:
    """Make sure that jobs can be submitted and their states be told.

    Raises:
        ConfigError: SLURM or its accounting is not there or does not answer.
    """
    fault = _slurm_fault()
    if fault:
        raise ConfigError(
            f"dora grid {grid}: {fault}; run the grid on this machine by "
            f"`python -m tools.grid {grid} --local`, or see what would be submitted by "
            f"`python -m tools.grid {grid} --plan`"
        )


def _slurm_fault() -> str | None:
    if any(shutil.which(program) is None for program in ("sbatch", "srun")):
        return "SLURM is not on this machine (no sbatch and srun on PATH)"
    accounting = "and job states come from SLURM's accounting alone"
    if shutil.which("sacct") is None:
        return f"sacct is not on PATH, {accounting}"
    # what Dora asks, of a job that need not be there
    command = ["sacct", "-n", "-X", "-o", "JobID,State", "-j", "1"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SACCT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"sacct does not answer within {SACCT_SECONDS} s, {accounting}"
    except OSError as error:
        return f"sacct can't be run ({error.strerror}), {accounting}"
    if done.returncode != 0:
        told = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        return f"sacct does not answer ({told.splitlines()[-1]}), {accounting}"
    return None
