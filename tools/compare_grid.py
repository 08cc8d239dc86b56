"""A grid's runs as configurations to compare: those that differ in their seed alone are one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from grids._history import MEASURE, best_epoch, last_section, number, read_history, section
from mss.core.errors import ConfigError, nearest_name_hint
from mss.eval.candidates import Candidate, read_seeds
from mss.report.tables import Column, Table


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seed alone.

    Attributes:
        name: what sets it apart from the grid's other configurations: "loss=l1 seed=3".
        seeds: of each run that is finished.
        signatures: of these runs.
        folders: of these runs.
        updates: of the optimiser in each.
    """

    name: str
    seeds: tuple[int, ...]
    signatures: tuple[str, ...]
    folders: tuple[Path, ...]
    updates: int

    def candidate(self) -> Candidate:
        """Return the tests of its runs."""
        return read_seeds(self.name, self.folders)


def grid_configurations(name: str) -> tuple[list[Configuration], int]:
    """Return the configurations of a grid, and how many of its runs are not finished.

    Raises:
        ConfigError: there is no such grid.
    """
    from mss.train import main as train_main
    from tools.grid_runs import finished, gather

    sheeps = gather(train_main, name).sheeps
    argv = [dict(argument.split("=", 1) for argument in sheep.xp.argv) for sheep in sheeps]
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(_labels(argv, train_main.dora.is_excluded)):
        groups.setdefault(label or "as it is", []).append(index)
    done = [finished(sheep) for sheep in sheeps]
    configurations = []
    for label, indices in groups.items():
        runs = [sheeps[index].xp for index in indices if done[index]]
        train = sheeps[indices[0]].xp.cfg.train
        configurations.append(
            Configuration(
                label.replace('"', ""),
                tuple(int(xp.cfg.seed) for xp in runs),
                tuple(xp.sig for xp in runs),
                tuple(xp.folder for xp in runs),
                train["epochs"] * (train["items"] // train["batch_size"]),
            )
        )
    return configurations, done.count(False)


def _labels(runs: Sequence[Mapping[str, str]], outside: Callable[[str], bool]) -> list[str]:
    """Return a name for each run's overrides, the same for those that differ in their seed alone.

    It holds the keys in which runs differ, but for those that follow from others. What is chosen of
    a group ("loss=l1") always stays.
    """

    def names(keys: Sequence[str]) -> list[str]:
        return [" ".join(f"{key}={run[key]}" for key in keys if key in run) for run in runs]

    keys = dict.fromkeys(key for run in runs for key in run if not outside(key))
    kept = [k for k in keys if k != "seed" and len({run.get(k) for run in runs}) > 1]
    configurations = len(set(names(kept)))
    for key in reversed(kept):
        fewer = [other for other in kept if other != key]
        if "." in key and len(set(names(fewer))) == configurations:
            kept = fewer
    return names(kept)


def choose(configurations: Sequence[Configuration], pattern: str) -> list[Configuration]:
    """Return the configurations that a pattern names.

    Args:
        configurations: to choose from.
        pattern: parts of a name, separated by blanks, as of `dora grid`: all have to be in it; one
            behind a "!" must not. A part that is a whole word of a name stands for that word alone.

    Raises:
        ConfigError: it names none.
    """
    words = {word for configuration in configurations for word in configuration.name.split()}

    def fits(name: str, part: str) -> bool:
        wanted = part.removeprefix("!")
        found = wanted in (name.split() if wanted in words else name)
        return found != part.startswith("!")

    found = [c for c in configurations if all(fits(c.name, part) for part in pattern.split())]
    if not found:
        hint = nearest_name_hint(pattern, [c.name for c in configurations])
        raise ConfigError(f"{pattern}: no configuration of the grid has that in its name.{hint}")
    return found


def choose_one(configurations: Sequence[Configuration], pattern: str) -> Configuration:
    """Return the only configuration that a pattern names.

    Raises:
        ConfigError: it names none, or several.
    """
    found = choose(configurations, pattern)
    if len(found) > 1:
        names = "; ".join(configuration.name for configuration in found)
        raise ConfigError(f"{pattern}: names {len(found)} configurations ({names}); say more")
    return found[0]


def paired(grid: str, configurations: Sequence[Configuration]) -> list[Configuration]:
    """Return the configurations of a grid with those seeds alone that all of them have.

    Raises:
        ConfigError: there is none.
    """
    common = set(configurations[0].seeds).intersection(*(c.seeds for c in configurations))
    if not common:
        names = [c.name for c in configurations if not c.seeds]
        what = f"no run of {names[0]} is finished" if names else "they share no seed"
        raise ConfigError(
            f"{grid}: nothing to compare: {what}; python -m tools.grid {grid} --local goes on"
        )
    return [_with_seeds(configuration, common) for configuration in configurations]


def _with_seeds(configuration: Configuration, seeds: set[int]) -> Configuration:
    kept = sorted((seed, place) for place, seed in enumerate(configuration.seeds) if seed in seeds)
    places = [place for _, place in kept]
    return Configuration(
        configuration.name,
        tuple(seed for seed, _ in kept),
        tuple(configuration.signatures[place] for place in places),
        tuple(configuration.folders[place] for place in places),
        configuration.updates,
    )


def runs_table(configurations: Sequence[Configuration]) -> Table:
    """Return what each configuration cost, and what its runs gave."""
    columns = (
        Column("configuration", left=True),
        Column("seeds", left=True),
        Column("runs", left=True),
        Column("updates"),
        Column("hours", ".2f"),
        Column(f"valid {MEASURE}", ".2f"),
        Column(f"test {MEASURE}", ".2f"),
    )
    rows = tuple(
        (
            c.name,
            ", ".join(map(str, c.seeds)),
            ", ".join(c.signatures),
            c.updates,
            *_means(c.folders),
        )
        for c in configurations
    )
    total = sum(hours for row in rows if isinstance(hours := row[4], float))
    return Table(columns, rows, "Runs", (f"hours: of all seeds together; {total:.2f} in all",))


def _means(folders: Sequence[Path]) -> Iterator[float | None]:
    """Yield hours in all, and the means of the best validation and of the test."""
    histories = [read_history(folder) for folder in folders]
    yield sum(_seconds(history) for history in histories) / 3600
    best = [(history, best_epoch(history)) for history in histories]
    scores = [
        [
            number(section(history[at], "valid").get(MEASURE))
            for history, at in best
            if at is not None
        ],
        [number(last_section(history, "test").get(MEASURE)) for history in histories],
    ]
    for of_stage in scores:
        known = [score for score in of_stage if score is not None]
        yield fmean(known) if known else None


def _seconds(history: Sequence[object]) -> float:
    found = (
        number(section(epoch, stage).get("seconds"))
        for epoch in history
        for stage in ("train", "valid")
    )
    return sum(seconds for seconds in found if seconds is not None)
