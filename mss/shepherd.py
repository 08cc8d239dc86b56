"""What is changed of how Dora submits jobs and looks after them.

A job's process imports this before anything else, so nothing here imports torch.
"""

from __future__ import annotations

import getpass
import logging
import shutil
import subprocess
import sys
from typing import Any

from dora import shep
from dora.shep import Shepherd, _SubmitItTarget
from submitit.helpers import DelayedSubmission

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


class JobTarget(_SubmitItTarget):
    """What a job's process calls. It can be preempted from its first second on.

    Before Dora's own target stands in a run it can say nothing of how to go on, and ends its job
    as FAILED: a preemption during the seconds in which torch is imported.
    """

    def checkpoint(self, *args: Any, **kwargs: Any) -> DelayedSubmission:
        """Return what the requeued job is to call: the same."""
        if not getattr(self, "requeue", True):
            sys.exit(1)
        return DelayedSubmission(self, *args, **kwargs)


def install() -> None:
    """Put these in the place of Dora's own, for every command of it."""
    shep._SubmitItTarget = JobTarget  # type: ignore[misc]
    Shepherd._check_orphans = cancel_orphans  # type: ignore[method-assign]
