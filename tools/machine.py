"""What this machine has for runs: GPUs and cores, and how they are shared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What runs share.

    Attributes:
        gpus: as CUDA_VISIBLE_DEVICES names them.
        cores: that this process may use.
    """

    gpus: tuple[str, ...]
    cores: int


@dataclass(frozen=True)
class Placement:
    """What one run gets: its number of processes, and of GPUs (0: it trains on the CPU)."""

    ranks: int
    gpus: int


def this_machine() -> Machine:
    """Return what this process may use."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if visible is None else visible.split(",")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine(tuple(name.strip() for name in names[:count]), cores or 1)


def place(asked: int, machine: Machine) -> Placement:
    """Return what a run gets that asks SLURM for `asked` GPUs (a task each; 0: a CPU task).

    The global batch is the same for any number of ranks, so a run that asks for more GPUs than
    there are takes the most that divide its number, as its batch divides by that. Where there is no
    GPU at all, it takes as many CPU processes.
    """
    if asked < 1:
        return Placement(ranks=1, gpus=0)
    if not machine.gpus:
        return Placement(ranks=asked, gpus=0)
    ranks = max(n for n in range(1, len(machine.gpus) + 1) if asked % n == 0)
    return Placement(ranks=ranks, gpus=ranks)


@dataclass(frozen=True)
class Process:
    """A living process, and the one that started it."""

    pid: int
    parent: int


def group_members(group: int) -> list[Process]:
    """Return the living processes of a process group (Linux).

    `os.killpg(group, 0)` would count those that are dead but not yet waited for, which in a
    container without an init may stay so for good.
    """
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended meanwhile
            continue
        # pid (name, with any characters) state ppid pgrp ...
        state, parent, its_group = stat.rpartition(")")[2].split()[:3]
        if int(its_group) == group and state not in "ZX":
            members.append(Process(int(entry.name), int(parent)))
    return members
