"""Jobs that were submitted by a process which died before it noted their ids."""

from __future__ import annotations

import getpass
import logging
import shutil
import subprocess

from dora.shep import Shepherd

logger = logging.getLogger(__name__)


def cancel_orphans(shepherd: Shepherd) -> None:
    """Cancel jobs that were submitted by a process which died before it noted their ids.

    Takes the place of Dora's own check, which asks `os.getlogin`: that needs a terminal, so one
    leftover tag ended every later command in a cron job, a container or a SLURM job. A tag is kept
    until SLURM can be asked.
    """
    tags = sorted(shepherd._orphans.iterdir())
    if not tags or shutil.which("squeue") is None:
        return
    for tag in tags:
        query = ["squeue", "-u", getpass.getuser(), "-n", tag.name, "-o", "%i", "-h"]
        try:
            listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout
            ids = sorted({line.split("_")[0].strip() for line in listed.splitlines()} - {""})
            if ids:
                logger.warning("Cancelling orphaned jobs %s (%s)", ", ".join(ids), tag.name)
                subprocess.run(["scancel", *ids], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            logger.warning("Orphaned jobs of %s can't be looked for (%s)", tag.name, error)
            return
        tag.unlink(missing_ok=True)


def install() -> None:
    """Put `cancel_orphans` in the place of Dora's own check, for every command of it."""
    Shepherd._check_orphans = cancel_orphans  # type: ignore[method-assign]
