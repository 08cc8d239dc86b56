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

ATTEMPTS = 3
"""To ask a busy controller."""

PATIENCE = 300
"""Seconds that a rank of a requeued job waits for the scheduler to end it."""


def leave(stop: StopRequest, signum: int) -> NoReturn:
    """End this process behind its checkpoint.

    A running job of submitit's, or one of `sbatch`, goes back into the queue. Without a scheduler,
    and where the user stopped or cancelled it, the process ends with 130 (Ctrl-C) or 143.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if signum == signal.SIGINT:
        _exit(INTERRUPTED, "Interrupted")
    if job is None:
        _exit(TERMINATED, "Stopped")
    if distrib.is_main():
        # A cancelled job is COMPLETING while its processes may still save, as is one that
        # `scontrol requeue` ends; a requeue now would bring the one back, and the other comes back.
        if job_state(job) not in ("RUNNING", "SIGNALING"):
            _exit(TERMINATED, "Stopped (the job is not running any more)")
        handler = stop.previous.get(getattr(signal, "SIGUSR2", signum))
        if callable(handler) and _is_submitit(handler):
            handler(signal.SIGUSR2, None)  # requeues and exits
        else:
            _requeue(job)
    _wait_for_the_end()


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
