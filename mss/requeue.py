"""The end of a process that was asked to stop: back into the queue, or out with a status.

submitit requeues a job from within its signal handler, in the middle of an update and while the
other ranks go on. So the solver's handler only notes the signal (`mss.solver.stop`), and submitit's
own is called here, when every rank stands behind a checkpoint.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from typing import NoReturn

from mss.core import distrib
from mss.solver.stop import StopRequest

logger = logging.getLogger(__name__)

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses: 128 + SIGINT, 128 + SIGTERM."""

MARK = "STEMGRID_REQUEUE"
"""Set to 1 by slurm/rank.sh: this process is what its job is for."""

ATTEMPTS = 3
"""To ask a busy controller."""

PATIENCE = 300
"""Seconds that a rank of a requeued job waits for the scheduler to end it."""


def leave(stop: StopRequest, signum: int) -> NoReturn:
    """End this process behind its checkpoint; every rank comes here.

    A running job of submitit's (`dora grid`), or of a wrapper in slurm/, goes back into the queue.
    Elsewhere, and where the user stopped or cancelled it, the process ends with 130 (Ctrl-C) or
    143.
    """
    if signum == signal.SIGINT:
        _exit(INTERRUPTED, "Interrupted")
    handler = stop.previous.get(getattr(signal, "SIGUSR2", signum))
    if not callable(handler) or not _is_submitit(handler):
        handler = None
    job = job_id()
    # A process in a job need not be the job: it may be a shell's, or one run of a local grid.
    if job is None or (handler is None and os.environ.get(MARK) != "1"):
        _exit(TERMINATED, "Stopped")
    # A cancelled job is COMPLETING while its processes may still save, as is one that `scontrol
    # requeue` ends; a requeue now would bring the one back, and the other comes back. One that
    # nobody can be asked about is taken for a running one.
    running = distrib.is_main() and job_state(job) in ("RUNNING", "SIGNALING", None)
    if not distrib.broadcast(running):
        _exit(TERMINATED, "Stopped (the job is not running any more)")
    if distrib.is_main():
        if handler is not None:
            handler(signal.SIGUSR2, None)  # requeues and exits
        else:
            _requeue(job)
    _wait_for_the_end()


def job_id() -> str | None:
    """Return what SLURM calls this job, None outside of one.

    The last part of an array bears the number of the whole array, so its place is told, too.
    """
    array, index = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def job_state(job: str) -> str | None:
    """Return the state of a SLURM job as the controller has it, None where it can't be asked."""
    for _ in range(ATTEMPTS):
        try:
            shown = subprocess.run(
                ["scontrol", "show", "job", "--oneliner", job],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("The state of job %s is not known: %s", job, _reason(error))
            time.sleep(1)
            continue
        found = re.search(r"\bJobState=(\w+)", shown.stdout)
        return found.group(1) if found else None
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "stderr", None) or error).strip()


def _is_submitit(handler: object) -> bool:
    owner = getattr(handler, "__self__", None)
    return type(owner).__module__.partition(".")[0] == "submitit"


def _requeue(job: str) -> None:
    try:
        subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("Job %s can't be requeued: %s", job, _reason(error))
        _exit(TERMINATED, "Stopped")
    logger.info("Job %s is requeued; it goes on from its checkpoint", job)


def _wait_for_the_end() -> NoReturn:
    """Wait to be ended by the scheduler: a rank that ended first would fail the job."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(PATIENCE)
    _exit(TERMINATED, "Stopped")


def _exit(status: int, word: str) -> NoReturn:
    logger.warning("%s; the same command goes on from the checkpoint", word)
    sys.exit(status)
