"""The paper's teacher of PS-KD: what the model gave for a segment when it last met it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mss.core import distrib
from mss.core.errors import ConfigError, DataError
from mss.core.types import Batch, Progress
from mss.distill.surroundings import Surroundings

logger = logging.getLogger(__name__)


class StoredPredictions:
    """The estimates of an epoch's segments, in two files of the run's folder.

    An epoch reads what the one before wrote and writes the other file. So a run that is killed and
    resumed, at any update, reads what an undisturbed one does, whatever it wrote since.

    Args:
        run: the run.
        where: the config key of the provider, for messages.

    Raises:
        ConfigError: the segments do not come back as they were: crops are drawn anew, or something
            augments them.
    """

    def __init__(self, run: Surroundings, where: str = "distill") -> None:
        if not run.fixed_crops:
            raise ConfigError(
                f"{where}.teacher: stored predictions belong to segments that come back in every "
                "epoch; set train.fixed_crops=true, or take teacher=snapshot"
            )
        if run.augmented:
            raise ConfigError(
                f"{where}.teacher: stored predictions are of mixes that {', '.join(run.augmented)} "
                "would change; take augment=none, or teacher=snapshot"
            )
        channels = run.model.spec.channels
        self._open: tuple[int, npt.NDArray[np.float32]] | None = None  # the epoch that is written
        self.shape = (run.items, len(run.targets.sources), channels, run.segment_frames)
        self.folder = run.folder / "predictions"
        gib = 2 * 4 * float(np.prod(self.shape)) / 2**30
        logger.info("Stored predictions take %.2f GiB in %s", gib, self.folder)

    def path(self, epoch: int) -> Path:
        """Return the file of an epoch's predictions."""
        return self.folder / f"{'even' if epoch % 2 == 0 else 'odd'}.npy"

    def read(self, batch: Batch, progress: Progress) -> Tensor:
        """Return what was given for these segments in the epoch before, [B, S, C, T].

        Raises:
            DataError: it is not there.
        """
        path = self.path(progress.epoch - 1)
        try:
            table = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: the predictions of the last epoch can't be read ({error}); without them "
                "this run can't go on: start it anew (remove its folder)"
            ) from error
        if table.shape != self.shape:
            raise DataError(f"{path}: has the shape {table.shape}, this run needs {self.shape}")
        assert batch.crops is not None
        rows = torch.from_numpy(np.array(table[batch.crops.cpu().numpy()]))
        return rows.to(batch.mix.device)

    def write(self, batch: Batch, waves: Tensor, progress: Progress) -> None:
        """Keep what the model gave for these segments, [B, S, C, T]."""
        table = self._table(progress.epoch)
        assert batch.crops is not None
        table[batch.crops.cpu().numpy()] = waves.detach().float().cpu().numpy()
        table.flush()  # type: ignore[attr-defined]

    def on_epoch_end(self) -> None:
        """Let every rank see what the others wrote."""
        self._open = None
        distrib.barrier()

    def _table(self, epoch: int) -> npt.NDArray[np.float32]:
        """Return the file to write into, which the main rank makes."""
        if self._open is not None and self._open[0] == epoch:
            return self._open[1]
        path = self.path(epoch)
        if distrib.is_main() and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            made = np.lib.format.open_memmap(partial, "w+", np.float32, self.shape)
            made.flush()
            partial.replace(path)
        distrib.barrier()
        table: npt.NDArray[np.float32] = np.load(path, mmap_mode="r+")
        self._open = (epoch, table)
        return table
