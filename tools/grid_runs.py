"""The runs of a grid, as `dora grid` would name them, without a scheduler."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora.conf import SlurmConfig
from dora.explore import Explorer, Herd, Launcher
from dora.grid import _filter_grid_sheeps
from dora.hydra import HydraMain
from dora.shep import Sheep, Shepherd
from dora.xp import XP

import grids
from grids._base import SeparationExplorer
from grids._history import is_finished, read_history
from mss.compose import COMPOSITION_ERRORS, check_overrides, explain
from mss.core.errors import ConfigError, nearest_name_hint


class OfflineShepherd(Shepherd):
    """Names runs as Dora's shepherd does, but makes no folder and asks no scheduler."""

    def __init__(self, main: HydraMain, overrides: Sequence[str] = ()) -> None:
        # not super().__init__: it makes folders and looks for orphaned jobs
        self.main = main
        self.lab = main
        self.overrides = tuple(overrides)

    def get_sheep_from_argv(self, argv: Sequence[str]) -> Sheep:
        """Return the run of a command line.

        Raises:
            ConfigError: an override does not fit.
        """
        return Sheep(compose_xp(self.lab, [*argv, *self.overrides]))


@dataclass(frozen=True)
class GridRuns:
    """What a grid asks for.

    Attributes:
        name: of the grid.
        explorer: makes the table.
        sheeps: the runs that were asked for, in the grid's order.
        submissions: signatures of the runs of each job or job array, in the order of `dora grid`.
        slurm: what each run asks of SLURM, by signature.
        shepherd: that named the runs.
    """

    name: str
    explorer: Explorer
    sheeps: list[Sheep]
    submissions: list[list[str]]
    slurm: dict[str, SlurmConfig]
    shepherd: OfflineShepherd


def compose_xp(main: HydraMain, argv: Sequence[str]) -> XP:
    """Return the run of a command line as `dora run` names it; makes no folder.

    Raises:
        ConfigError: an override does not fit. Dora's comparison keeps state from the failed
            attempt, so signatures are wrong in this process from then on.
    """
    check_overrides(argv)
    try:
        xp: XP = HydraMain.get_xp(main, argv)
    except COMPOSITION_ERRORS as error:
        raise explain(error, main._get_config, argv) from error
    return xp


def grid_names() -> list[str]:
    """Return the grids there are: one a file, dotted where it lies in a folder of grids/."""
    return sorted(_find_grids())


def _find_grids() -> Iterator[str]:
    assert grids.__file__ is not None
    root = Path(grids.__file__).parent
    for folder, _, files in os.walk(root):
        for file in files:
            if file.endswith(".py") and not file.startswith("_"):
                path = (Path(folder) / file).relative_to(root).with_suffix("")
                yield ".".join(path.parts)


def load_explorer(name: str) -> Explorer:
    """Return the explorer of a grid.

    Raises:
        ConfigError: there is no such grid, or its file has no explorer.
    """
    known = grid_names()
    if name not in known:
        raise ConfigError(f"{name}: there is no such grid.{nearest_name_hint(name, known)}")
    module = importlib.import_module(f"grids.{name}")
    explorer = getattr(module, "explorer", None)
    if not isinstance(explorer, Explorer):
        raise ConfigError(
            f"grids/{name.replace('.', '/')}.py: holds no `explorer`; "
            "decorate a function of that name by @SeparationExplorer"
        )
    return explorer


def gather(
    main: HydraMain, name: str, patterns: Sequence[str] = (), overrides: Sequence[str] = ()
) -> GridRuns:
    """Return the runs of a grid.

    Args:
        main: of the lab.
        name: of the grid.
        patterns: as of `dora grid`: parts of a run's name, !PART, or an index in what is left.
        overrides: for every run, of keys outside the signature.

    Raises:
        ConfigError: no such grid, no such run, or an override that does not fit.
    """
    explorer = load_explorer(name)
    _check_outside(main, overrides)
    shepherd = OfflineShepherd(main, overrides)
    herd = Herd()
    launcher = Launcher(shepherd, main.get_slurm_config(), herd)
    if isinstance(explorer, SeparationExplorer):
        explorer.collect(launcher)
    else:
        explorer(launcher)
    sheeps = list(herd.sheeps.values())
    if not sheeps:
        raise ConfigError(f"{name}: this grid has no runs")
    try:
        chosen = _filter_grid_sheeps(list(patterns), main, sheeps)
    except IndexError:
        chosen = []
    if not chosen:
        raise ConfigError(f"{name}: none of its {len(sheeps)} runs matches {' '.join(patterns)}")
    wanted = {sheep.xp.sig for sheep in chosen}
    submissions = [[sig for sig in array if sig in wanted] for array in herd.job_arrays]
    return GridRuns(
        name=name,
        explorer=explorer,
        sheeps=chosen,
        submissions=[array for array in submissions if array],
        slurm=herd.slurm_configs,
        shepherd=shepherd,
    )


def _check_outside(main: HydraMain, overrides: Sequence[str]) -> None:
    """Make sure that overrides leave the signatures as they are: a grid's runs are its own."""
    check_overrides(overrides)
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+")
        if not main.dora.is_excluded(key):
            raise ConfigError(
                f"{override}: would make other runs than the grid's; only keys outside the "
                f"signature can be given here ({', '.join(_outside(main))})"
            )


def _outside(main: HydraMain) -> list[str]:
    own = ("slurm", "cluster", "dora")
    return [key for key in main.dora.exclude if key.split(".")[0] not in own and key != "misc"]


def finished(sheep: Sheep) -> bool:
    """Whether a run did all its epochs and was tested."""
    return is_finished(sheep.xp.folder, sheep.xp.cfg.train.epochs)


def epochs_done(sheep: Sheep) -> int | None:
    """Return how many epochs a run has behind it; None where it has no folder yet."""
    return len(read_history(sheep.xp.folder)) if sheep.xp.folder.is_dir() else None
