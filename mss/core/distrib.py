"""Where this process stands among the ranks of a run, and what the ranks tell each other.

One process alone needs no set-up: it is rank 0 of 1, and every exchange gives back what it was
given. With a process group each function is a collective: all ranks call it, in the same order.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")


def rank() -> int:
    """Index of this process, 0 without a process group."""
    return dist.get_rank() if _is_group() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if _is_group() else 1


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of every rank's `values` (any shape, the same on all ranks)."""
    if world_size() == 1:
        return values
    total = values.to(_group_device(), copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def gather(value: Value) -> list[Value]:
    """Return every rank's `value` (anything that pickles), in the order of the ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Value) -> Value:
    """Return the `value` of rank 0 (anything that pickles) on every rank."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def broadcast_buffers(module: nn.Module) -> None:
    """Give every rank the buffers of rank 0 (running statistics of batch normalisation)."""
    if world_size() == 1:
        return
    for buffer in module.buffers():
        shared = buffer.to(_group_device())
        dist.broadcast(shared, src=0)
        buffer.copy_(shared)


def broadcast_weights(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for parameter in module.parameters():
            shared = parameter.to(_group_device())
            dist.broadcast(shared, src=0)
            parameter.copy_(shared)
    broadcast_buffers(module)


def barrier() -> None:
    """Wait until every rank has come here."""
    # not dist.barrier: with nccl that guesses a device
    sum_over_ranks(torch.zeros(1))


def _is_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _group_device() -> torch.device:
    """Where the backend takes its tensors."""
    on_gpu = dist.get_backend() == dist.Backend.NCCL
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
