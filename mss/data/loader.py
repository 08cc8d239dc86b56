"""Batches of an epoch, read by worker processes whose number changes nothing but the speed.

The sampler names items by (epoch, index) and the data set is a function of those, so workers hold
no state, a resumed epoch starts at any step, and the ranks of a run share one global batch.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mss.core.errors import ConfigError, StemgridError
from mss.core.types import Batch
from mss.data.segments import Segment, Segments, collate


class SegmentLoader:
    """The batches of a data set, an epoch at a time; worker processes live as long as it does.

        with SegmentLoader(dataset, batch_size=16, num_workers=2) as loader:
            for epoch in range(epochs):
                for batch in loader.epoch(epoch):
                    ...

    The global batch of a step holds items [step * batch_size, (step + 1) * batch_size) of the
    epoch, and each rank takes its contiguous share of it. Items that fill no whole batch are left
    out.
    """

    def __init__(
        self,
        dataset: Segments,
        batch_size: int,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        """Prepare to read; workers start with the first epoch.

        Args:
            dataset: of segments.
            batch_size: items of an update, over all ranks.
            num_workers: processes that read; 0: this one does.
            rank: of this process.
            world_size: number of ranks.
            pin_memory: give tensors in page-locked memory (for a GPU).

        Raises:
            ConfigError: the batch size fits neither the ranks nor the epoch.
        """
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"train.batch_size: {batch_size} can't be shared by {world_size} processes; give"
                f" a multiple of {world_size}"
            )
        if batch_size > len(dataset):
            raise ConfigError(
                f"train.batch_size: {batch_size} is more than the {len(dataset)} items of an"
                " epoch; give fewer, or more items"
            )
        self.dataset = dataset
        self.steps = len(dataset) // batch_size
        self._sampler = _GlobalBatches(batch_size, self.steps, rank, world_size)
        self._names = dataset.stems
        self._closing = multiprocessing.Event()
        # before torch's own, which sends a TERM to the workers that are left
        atexit.register(self._closing.set)
        self._loader: DataLoader[Any] | None = DataLoader(
            _Guarded(dataset),
            batch_sampler=self._sampler,
            collate_fn=_collate_tensors,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=partial(_start_worker, self._closing),
            # Without one of its own the DataLoader draws from torch's global generator, which a
            # resumed run would then find elsewhere than an uninterrupted one.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.steps

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` from `first_step` on: this rank's share of each.

        Raises:
            DataError: a file can't be read.
        """
        if self._loader is None:
            raise ValueError("this loader was closed")
        if not 0 <= first_step <= self.steps:
            raise ValueError(f"step {first_step} of an epoch of {self.steps}")
        self._sampler.epoch, self._sampler.first_step = epoch, first_step
        for fetched in self._loader:
            if isinstance(fetched, _Failure):
                raise fetched.error
            mix, stems, trust, rest, crops = fetched
            yield Batch(mix, stems, self._names, trust, rest, crops)

    def close(self) -> None:
        """End the worker processes (the DataLoader ends them as it is dropped)."""
        self._closing.set()
        atexit.unregister(self._closing.set)
        self._loader = None

    def __enter__(self) -> SegmentLoader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def make_loader(
    dataset: Segments,
    batch_size: int,
    epoch: int,
    first_step: int = 0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield the batches of one epoch; the workers end with it. See `SegmentLoader`."""
    with SegmentLoader(dataset, batch_size, num_workers, rank, world_size, pin_memory) as loader:
        yield from loader.epoch(epoch, first_step)


class _GlobalBatches(Sampler[list[tuple[int, int]]]):
    """Keys of one rank's share of each global batch, from the step and epoch last set."""

    def __init__(self, batch_size: int, steps: int, rank: int, world_size: int) -> None:
        self.batch_size = batch_size
        self.steps = steps
        self.share = batch_size // world_size
        self.rank = rank
        self.epoch = 0
        self.first_step = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        for step in range(self.first_step, self.steps):
            first = step * self.batch_size + self.rank * self.share
            yield [(epoch, index) for index in range(first, first + self.share)]

    def __len__(self) -> int:
        return self.steps - self.first_step


@dataclass(frozen=True)
class _Failure:
    """A user's mistake met in a worker. An exception would arrive with a traceback as its text."""

    error: StemgridError


class _Guarded(Dataset[Any]):
    """The data set, with errors returned in place of items."""

    def __init__(self, dataset: Segments) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Segment | _Failure:
        try:
            return self._dataset[key]
        except StemgridError as error:
            return _Failure(error)


def _collate_tensors(
    items: Sequence[Segment | _Failure],
) -> tuple[Tensor | None, ...] | _Failure:
    """Return the fields of a Batch but the names, which the DataLoader can pin, as it can't it."""
    for item in items:
        if isinstance(item, _Failure):
            return item
    batch = collate([item for item in items if isinstance(item, Segment)])
    return batch.mix, batch.stems, batch.trust, batch.rest, batch.crops


def _start_worker(closing: Event, worker: int) -> None:  # noqa: ARG001 - DataLoader's signature
    """Leave signals to the main process, which ends its workers.

    Ctrl-C and a scheduler's signals reach every process of a job, and without its workers the main
    process could not read on to the step that its ranks agree to stop at. A TERM ends a worker once
    the loader is closed: that is how a process at its exit ends what is left of them.
    """

    def end_if_closing(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if closing.is_set():
            os._exit(0)

    signal.set_wakeup_fd(-1)  # a forked worker's signals would reach the main process by it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end_if_closing)
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
