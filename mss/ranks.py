"""The processes of one run: finding each other, and what the end of one means to the others."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from dora.distrib import get_distrib_spec, set_distrib_env

from mss.core import distrib
from mss.core.errors import StemgridError

logger = logging.getLogger(__name__)

JOIN_TIMEOUT = timedelta(minutes=5)
"""How long a rank waits for the others to start."""

TIMEOUT = timedelta(hours=1)
"""How long a rank waits for the others: their songs to validate on may be longer than its own."""


class PeerError(StemgridError):
    """Another process of the run ended or can't be reached."""


def join(device: torch.device, signature: str, timeout: timedelta = TIMEOUT) -> None:
    """Join the process group of this run, where there is one.

    Args:
        device: of the model; GPUs talk by nccl, everything else by gloo.
        signature: of the run.
        timeout: how long a rank waits for the others; one that ended is noticed at once.

    Raises:
        PeerError: the others can't be reached.
    """
    spec = get_distrib_spec()
    if spec.world_size == 1:
        return
    if "MASTER_PORT" not in os.environ and spec.source == "env":
        # Dora's own choice depends on the signature alone, so a second start of the run would
        # meet the processes of the first. The ranks of one start share their parent.
        port = random.Random(f"{signature} {os.getppid()}").randrange(20000, 32000)
        os.environ["MASTER_PORT"] = str(port)
    if spec.num_nodes == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")  # a node's name need not resolve on it
    set_distrib_env()
    with lost_peers():
        # under torchrun the agent holds the store
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            spec.world_size,
            is_master=spec.rank == 0 and not agent,
            timeout=JOIN_TIMEOUT,
        )
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=dist.PrefixStore("stemgrid", store),  # type: ignore[attr-defined]
            world_size=spec.world_size,
            rank=spec.rank,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
    logger.info("Rank %d of %d (%s)", spec.rank, spec.world_size, dist.get_backend())


def leave() -> None:
    """Leave the process group, at the good end of a run."""
    if distrib.world_size() > 1:
        distrib.barrier()
        dist.destroy_process_group()


@contextmanager
def lost_peers() -> Iterator[None]:
    """Turn a failed exchange into a sentence that says where to look.

    Raises:
        PeerError: another rank ended, or could not be reached.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo raises a plain RuntimeError that starts with its own source file
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        first = str(error).strip().splitlines()[0]
        raise PeerError(
            f"another process of this run ended or can't be reached ({first}): its own log says "
            "why (worker_N.log in the run's folder, or the log of its SLURM task)"
        ) from error
