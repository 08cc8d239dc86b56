"""How a run tells of itself: a bar on a terminal, else a line now and then; one line a stage."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from mss.core import distrib

logger = logging.getLogger(__name__)


class StageProgress:
    """The progress of one pass over `total` steps; the main process alone tells it.

    Where the standard error is a terminal, a bar; else a line every `log_seconds`.
    """

    def __init__(
        self, title: str, total: int, done: int = 0, show: bool = True, log_seconds: float = 60.0
    ) -> None:
        self.title = title
        self.total = total
        self.first = self.done = done
        self.log_seconds = log_seconds if show and distrib.is_main() else 0.0
        self._started = self._told = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=title,
            leave=False,
            mininterval=0.5,
            disable=None if show and distrib.is_main() else True,
        )

    def step(self, **shown: str) -> None:
        """Take note of one step more, with what is to be shown beside it."""
        self.done += 1
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        now = time.monotonic()
        # the line at the end is the stage's own
        due = self.log_seconds and now - self._told >= self.log_seconds and self.done < self.total
        if self._bar.disable and due:
            self._told = now
            left = (now - self._started) / (self.done - self.first) * (self.total - self.done)
            values = "".join(f" | {key} {value}" for key, value in shown.items())
            time_left = tqdm.format_interval(left)
            logger.info(
                "%s | %d/%d%s | %s left", self.title, self.done, self.total, values, time_left
            )

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


def log_stage(title: str, metrics: Mapping[str, Any]) -> None:
    """Log one readable line for a stage that is done."""
    if distrib.is_main():
        shown = [f"{key} {_readable(value)}" for key, value in metrics.items()]
        logger.info("%s | %s", title, " | ".join(shown))


def _readable(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def peak_gib(device: torch.device) -> float:
    """Return the most memory (GiB) that this process has held: on its GPU, else in all.

    A GPU's peak is that since `reset_peak`; the main memory's is that of the process's life.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, KiB elsewhere


def reset_peak(device: torch.device) -> None:
    """Start to measure anew, where that can be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
