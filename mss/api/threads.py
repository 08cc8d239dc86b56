"""Torch's CPU threads, which each thread of a program has its own number of."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator

import torch

from mss.api.cgroup import cpu_quota


def available_threads() -> int:
    """Return how many CPU threads this process may keep busy.

    Those that it may run on (a scheduler's or taskset's choice), or what its control group's quota
    of CPU time allows (a container's limit), rounded up, or what $OMP_NUM_THREADS says, whichever
    is least.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota()
    if quota is not None:
        count = min(count, math.ceil(quota))
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal():
        count = min(count, int(told))
    return max(1, count)


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let this thread's torch work on so many CPU threads meanwhile; None: as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)
