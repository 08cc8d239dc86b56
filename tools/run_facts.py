"""What can be told of a run from the files in its folder."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from dora.hydra import HydraMain
from dora.xp import XP
from omegaconf import DictConfig, OmegaConf

import mss
from grids._history import MEASURE, best_epoch, last_section, number, read_history, scores, section
from mss.build import locked_values
from mss.compose import CONF, OPEN_MAPPINGS
from mss.core.errors import ConfigError, DataError, StemgridError, nearest_name_hint
from mss.solver.checkpoint import checkpoint_path
from mss.solver.folder import CLAIM
from mss.solver.lock import LOCK, PROVENANCE, config_changes, source_tree_hash
from tools.grid_runs import compose_xp

Facts = dict[str, Any]
ARGV = ".argv.json"
SACCT_SECONDS = 15


def find_run(main: HydraMain, start: str) -> Path:
    """Return the folder of the run whose signature begins with `start`.

    Raises:
        ConfigError: there is none, or several.
    """
    runs = main.dora.dir / main.dora.xps
    known = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    found = [name for name in known if start and name.startswith(start)]
    if start in known:
        found = [start]
    if len(found) > 1:
        raise ConfigError(f"{start}: could be {', '.join(found)}; give more of it")
    if not found:
        hint = nearest_name_hint(start, known)
        raise ConfigError(f"{start}: no run of this signature in {runs}.{hint}")
    return runs / found[0]


def run_facts(main: HydraMain, folder: Path) -> Facts:
    """Return what is known of a run: meaning, lock, provenance, state (as plain values).

    A part whose file is missing or damaged is {"problem": what is wrong with it}.
    """
    argv: list[str] = []
    xp: XP | None = None
    meaning: Facts
    try:
        argv = _read_argv(folder)
        xp = compose_xp(main, argv)
        meaning = _meaning(main, argv, xp)
    except StemgridError as error:
        meaning = {"command": argv, "problem": _one_line(error)}
    return {
        "signature": folder.name,
        "folder": str(folder),
        "grids": sorted(
            link.parent.name for link in (main.dora.dir / main.dora._grids).glob(f"*/{folder.name}")
        ),
        "meaning": meaning,
        "lock": _part(lambda: _lock(main, folder, argv, xp)),
        "provenance": _part(lambda: _provenance(folder)),
        "state": _part(lambda: _state(folder, xp)),
    }


def _part(facts: Callable[[], Facts]) -> Facts:
    try:
        return facts()
    except (StemgridError, OSError) as error:
        return {"problem": _one_line(error)}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _read_json(path: Path, kind: type) -> Any:
    """Return the content of a file of the run.

    Raises:
        DataError: it is missing, damaged or holds something else.
    """
    if not path.exists():
        raise DataError(f"{path.name}: not there")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name}: can't be read ({error})") from error
    if not isinstance(value, kind):
        raise DataError(f"{path.name}: holds no {kind.__name__}")
    return value


def _read_argv(folder: Path) -> list[str]:
    return [str(argument) for argument in _read_json(folder / ARGV, list)]


# -- meaning -----------------------------------------------------------------------------------


def _meaning(main: HydraMain, argv: Sequence[str], xp: XP) -> Facts:
    """Say what a command line asks for: the choices of groups first, then single values."""
    defaults = _default_choices()
    base, _ = main._get_base_config(list(argv))
    groups, values = {}, {}
    for key, value in xp.delta or []:
        if key in defaults:
            groups[key] = {
                "choice": value,
                "default": defaults[key],
                "what": _first_comment(key, value),
            }
        else:
            values[key] = {"value": value, "default": _plain(OmegaConf.select(base, key))}
    return {
        "command": list(argv),
        "groups": groups,
        "values": values,
        "by_default": {key: choice for key, choice in defaults.items() if key not in groups},
        "signature_today": xp.sig,
    }


def _default_choices() -> dict[str, str]:
    """Return the default choice of each group that a signature sees."""
    config = OmegaConf.load(CONF / "config.yaml")
    choices: dict[str, str] = {}
    for entry in config.defaults:
        if isinstance(entry, DictConfig):
            raw = OmegaConf.to_container(entry, resolve=False)
            assert isinstance(raw, dict)
            choices |= {
                str(key): str(value) for key, value in raw.items() if "${" not in str(value)
            }
    return choices


def _first_comment(group: str, choice: str) -> str:
    """Return the first line that a group's file says about itself."""
    try:
        lines = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    comments = (line[1:].strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@")), "")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


# -- lock --------------------------------------------------------------------------------------


def _lock(main: HydraMain, folder: Path, argv: Sequence[str], xp: XP | None) -> Facts:
    """Compare the lock with the defaults of today, and with what the command line gives today."""
    lock = _read_json(folder / LOCK, dict)
    config = lock.get("config")
    if not isinstance(config, dict):
        raise DataError(f"{LOCK}: holds no config")
    facts: Facts = {"data": lock.get("data"), "spec": config.get("spec")}
    if xp is None:
        return facts
    config = {key: value for key, value in config.items() if key != "spec"}  # not of the conf
    base, _ = main._get_base_config(list(argv))
    facts["differs_from_defaults"] = [
        [key, default, value]
        for key, default, value in config_changes(
            locked_values(base), config, open_mappings=OPEN_MAPPINGS
        )
        if value is not None or _holds(config, key)  # not what conf/ has got since
    ]
    today = config_changes(config, locked_values(xp.cfg), open_mappings=OPEN_MAPPINGS)
    facts["changed_since"] = [list(change) for change in today]
    return facts


def _holds(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


# -- provenance --------------------------------------------------------------------------------


def _provenance(folder: Path) -> Facts:
    stored = _read_json(folder / PROVENANCE, dict)
    assert mss.__file__ is not None
    source = source_tree_hash(Path(mss.__file__).resolve().parent)
    later = [entry for entry in _list(stored.get("later")) if isinstance(entry, dict)]
    last = later[-1] if later else stored
    return {
        "created": stored.get("created"),
        "stemgrid": stored.get("stemgrid"),
        "source": stored.get("source"),
        "source_now": source,
        "same_code": last.get("source") == source,
        "continued_from": stored.get("continued_from"),
        "later_starts": [entry.get("created") for entry in later],
        "python": stored.get("python"),
        "machine": stored.get("machine"),
        "packages": dict(_other_packages(stored.get("packages"))),
        "data": {
            str(split): _split_facts(manifest)
            for split, manifest in _dict(stored.get("data")).items()
            if isinstance(manifest, dict)
        },
    }


def _other_packages(then: Any) -> Iterator[tuple[str, list[str | None]]]:
    """Yield each package of which another version is installed now, with both versions."""
    now = {dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]}
    for name, version in _dict(then).items():
        if now.get(name) != version:
            yield str(name), [version, now.get(name)]


def _split_facts(manifest: Mapping[str, Any]) -> Facts:
    tracks = manifest.get("tracks")
    seconds = number(manifest.get("seconds"))
    return {
        "name": manifest.get("name"),
        "songs": len(tracks) if isinstance(tracks, (dict, list)) else None,
        "minutes": None if seconds is None else round(seconds / 60, 1),
        "fingerprint": manifest.get("fingerprint"),
    }


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# -- state -------------------------------------------------------------------------------------


def _state(folder: Path, xp: XP | None) -> Facts:
    """Return how far a run is."""
    epochs = xp.cfg.train.epochs if xp is not None else None
    metric = xp.cfg.valid.metric if xp is not None else MEASURE
    history = read_history(folder)
    if (folder / "history.json").exists() and not history:
        _read_json(folder / "history.json", list)  # tells what is wrong with it
    best = best_epoch(history, metric)
    test = last_section(history, "test")
    state: Facts = {
        "epochs": len(history),
        "of": epochs,
        "best": None,
        "test": {MEASURE: number(test.get(MEASURE)), **scores(test)} if test else None,
        "checkpoint": None,
        "running": is_claimed(folder),
        "slurm": _slurm_job(folder),
    }
    if best is not None:
        value = number(section(history[best], "valid").get(metric))
        state["best"] = {"metric": metric, "value": value, "epoch": best + 1}
    path = checkpoint_path(folder)
    if path.exists():
        facts = path.stat()
        age = max(0, round(time.time() - facts.st_mtime))
        state["checkpoint"] = {"bytes": facts.st_size, "age_seconds": age}
    return state


def is_claimed(folder: Path) -> bool | None:
    """Whether a process trains the run, on this machine or another one that shares its disk.

    Returns:
        None where that can't be told: a file system without locks, a file that can't be read.
    """
    try:
        with (folder / CLAIM).open("rb") as claim:
            # shared, and given back at once: a start in this very moment would be refused
            fcntl.flock(claim, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(claim, fcntl.LOCK_UN)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _slurm_job(folder: Path) -> Facts | None:
    """Return the SLURM job that was last submitted for a run, and its state if SLURM tells."""
    try:
        job = str(_read_json(folder / "job.json", dict)["job_id"])
    except (DataError, KeyError):
        return None
    state = None
    if shutil.which("sacct") is not None:
        command = ["sacct", "-n", "-X", "-P", "-o", "State", "-j", job]
        try:
            told = subprocess.run(
                command, capture_output=True, text=True, timeout=SACCT_SECONDS, check=False
            )
            state = told.stdout.strip().splitlines()[0] if told.stdout.strip() else None
        except (OSError, subprocess.TimeoutExpired):
            state = None
    return {"id": job, "state": state}
