"""The metrics of a run's epochs for TensorBoard (an optional extra)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.solver.parts import Link, Metrics

FOLDER = "tensorboard"
"""In the run's folder."""


class TensorBoardLink:
    """Reports to another link, and writes each epoch's numbers once.

    A resumed run writes its whole history anew, so that what a killed process wrote of epochs that
    were lost with it is not shown twice.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, link: Link, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                f"misc.tensorboard: the package is missing ({error}); "
                'pip install -e ".[tensorboard]"'
            ) from error
        self._link = link
        # purge_step: TensorBoard forgets what older files hold from that step on
        self._writer = SummaryWriter(folder / FOLDER, purge_step=1) if distrib.is_main() else None
        self._written = 0
        self._tested = 0  # the epoch whose test was written

    def update_history(self, history: list[Metrics]) -> None:
        self._link.update_history(history)
        if self._writer is None:
            return
        for metrics in history[self._written :]:
            for stage in ("train", "valid"):
                self._write(stage, metrics.get(stage, {}), metrics["epoch"])
        self._written = len(history)
        for metrics in history[self._tested :]:
            if "test" in metrics:  # a run made longer has several
                self._write("test", metrics["test"], metrics["epoch"])
                self._tested = metrics["epoch"]
        self._writer.flush()

    def _write(self, stage: str, metrics: Mapping[str, Any], epoch: int) -> None:
        assert self._writer is not None
        for name, value in _numbers(metrics):
            self._writer.add_scalar(f"{stage}/{name}", value, epoch)


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield what can be drawn: no names, no flags, nothing that is not defined."""
    for name, value in metrics.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
