"""What every grid's table shows.

The score of a run is the nSDR (dB) of its best model so far. Runs that were tested on the same
songs are compared with the grid's first run, song by song: the mean of the differences says more
than the difference of two means, each of which varies with the songs by more than most methods do.
Whether there is a difference at all is said in words (see mss.eval.statistics).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import treetable as tt
from dora.explore import Explorer, Herd, Launcher
from dora.shep import Sheep

from grids._history import (
    MEASURE,
    History,
    best_epoch,
    epoch_seconds,
    last_section,
    measures,
    number,
    scores,
    section,
)
from grids._paired import TestTracks, compare_runs, read_test_tracks
from grids._slurm import preset, require_slurm
from mss.core.errors import StemgridError

__all__ = ["SeparationExplorer", "preset"]


OF_THE_WRAPPERS = ("SBATCH_GPUS", "SBATCH_TIMELIMIT")
"""What slurm/env.sh sets for jobs of `slurm/`: sbatch would heed it before a grid's presets."""


class SeparationExplorer(Explorer):
    """Epoch, losses and scores of each run, and how it differs from the grid's first."""

    def __init__(self, explore: Any) -> None:
        super().__init__(explore)
        self._herd: Herd | None = None
        self._rows: _Rows | None = None  # of the table that is being made

    def __call__(self, launcher: Launcher) -> None:
        """Collect the runs for `dora grid`, which is about to ask SLURM for their states."""
        try:
            # Dora tells an explorer nothing of its flags; a dry run submits nothing
            if "--dry_run" not in sys.argv:
                require_slurm(self.explore.__module__.removeprefix("grids."))
            for variable in OF_THE_WRAPPERS:
                os.environ.pop(variable, None)
            self.collect(launcher)
        except StemgridError as error:
            print(f"dora: error: {error}", file=sys.stderr)
            sys.exit(1)

    def collect(self, launcher: Launcher) -> None:
        """Collect the runs, whoever is going to run them."""
        self._herd = launcher._herd
        self.explore(launcher)

    # -- the table: for each run process_sheep, then get_grid_metrics, in every pass -----------

    def process_sheep(self, sheep: Sheep, history: History) -> dict[str, Any]:
        """Return a run's line."""
        if self._rows is None:
            self._rows = _Rows(self._first_folder() or sheep.xp.folder)
        cfg = sheep.xp.cfg
        return self._rows.line(history, cfg.train.epochs, cfg.valid.metric, folder=sheep.xp.folder)

    def process_history(self, history: History) -> dict[str, Any]:
        """Return the line of a run of which only the history is known."""
        if self._rows is None:
            self._rows = _Rows(None)
        return self._rows.line(history)

    def get_grid_metrics(self) -> list[Any]:
        """Return the columns for the lines since the last call."""
        rows = self._rows or _Rows(None)
        self._rows = None
        return rows.columns()

    def get_colors(self) -> list[str] | None:
        """Return the colours of odd and even lines; none where the table goes into a file."""
        colors: list[str] = super().get_colors()  # type: ignore[no-untyped-call]
        return colors if sys.stdout.isatty() else None

    def _first_folder(self) -> Path | None:
        """The folder of the grid's first run, also where patterns leave that out of the table."""
        sheeps = list(self._herd.sheeps.values()) if self._herd is not None else []
        return sheeps[0].xp.folder if sheeps else None


class _Rows:
    """The lines of one table, and the columns that they ask for."""

    def __init__(self, first: Path | None) -> None:
        self.first = first
        self.reference: TestTracks | None = read_test_tracks(first) if first else None
        self.stems: dict[str, None] = {}  # in the order in which they were seen
        self.tested: dict[str, None] = {}
        self.measures: dict[str, None] = {}

    def line(
        self,
        history: History,
        epochs: int | None = None,
        metric: str = MEASURE,
        folder: Path | None = None,
    ) -> dict[str, Any]:
        best = best_epoch(history, metric)
        validated = section(history[best], "valid") if best is not None else {}
        test = last_section(history, "test")
        self.stems |= dict.fromkeys(scores(validated))
        self.tested |= dict.fromkeys(scores(test))
        others = [name for name in measures(test, scores(test)) if name != MEASURE]
        self.measures |= dict.fromkeys(others)
        return {
            "run": {
                "epoch": f"{len(history)}/{epochs}" if epochs else str(len(history)),
                "seconds": epoch_seconds(history),
            },
            "train": {"loss": number(last_section(history, "train").get("loss"))},
            "valid": {"loss": number(last_section(history, "valid").get("loss"))},
            "best": _scores(validated),
            "test": _scores(test),
            "measures": {name: number(test.get(name)) for name in others},
            "first": self._compared(folder),
        }

    def _compared(self, folder: Path | None) -> Mapping[str, Any]:
        """Return the difference to the first run; empty where there is nothing to compare."""
        if folder is None or folder == self.first or self.reference is None:
            return {}
        tracks = read_test_tracks(folder)
        found = compare_runs(tracks, self.reference) if tracks is not None else None
        if found is None:
            return {}
        interval = found.interval
        return {
            "mean": found.mean,
            "interval": f"{interval.low:+.2f} to {interval.high:+.2f}" if interval else None,
            "won": f"{found.won} of {found.songs}",
            "verdict": found.verdict,
        }

    def columns(self) -> list[Any]:
        """Return the tree of columns; a value that is not there is a dash."""
        columns = [
            _group("run", [tt.leaf("epoch"), tt.leaf("seconds", ".0f", display="s/epoch")]),
            _group("train", [tt.leaf("loss", ".4f")]),
            _group("valid", [tt.leaf("loss", ".4f")]),
            _group("best", _score_leaves(self.stems), display="best valid nSDR"),
            _group("test", _score_leaves(self.tested), display="test nSDR"),
        ]
        if self.measures:
            leaves = [tt.leaf(name, ".2f") for name in self.measures]
            columns.append(_group("measures", leaves, display="test"))
        leaves = [
            tt.leaf("mean", "+.2f", display="nSDR"),
            tt.leaf("interval", display="95 %"),
            tt.leaf("won"),
            tt.leaf("verdict", display=""),
        ]
        return [*columns, _group("first", leaves, display="minus first run")]


def _group(key: str, nodes: list[Any], display: str | None = None) -> Any:
    return tt.group(key, nodes, display=display, align=">", missing="-", shorten=False)


def _scores(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the score of all stems and of each, under the names that a history has."""
    by_stem = {f"{MEASURE}_{stem}": value for stem, value in scores(metrics).items()}
    return {MEASURE: number(metrics.get(MEASURE)), **by_stem}


def _score_leaves(stems: Iterable[str]) -> list[Any]:
    """Return the columns of a score: of all stems, then of each."""
    leaves = [tt.leaf(f"{MEASURE}_{stem}", ".2f", display=stem) for stem in stems]
    return [tt.leaf(MEASURE, ".2f", display="all"), *leaves]
