"""A run that trained: its folder, its best model and what a release tells of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mss.compose import compose_config
from mss.core import registry
from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.separator import Separator
from mss.core.types import AudioSpec
from mss.release.index import Entry
from mss.release.repo import Repo
from mss.solver.checkpoint import checkpoint_path, load_checkpoint
from mss.solver.lock import LOCK, PROVENANCE
from mss.solver.resume import CONTENT


@dataclass(frozen=True)
class TrainedRun:
    """The best model of a run and what a release tells of it."""

    model: Separator
    arch: str
    signature: str
    provenance: dict[str, Any]
    scores: dict[str, Any]


def run_folder(signature: str) -> Path:
    """Return the folder of a run."""
    runs = Path(compose_config().dora.dir).absolute() / "xps"
    folder = runs / signature
    if not signature or Path(signature).name != signature or not folder.is_dir():
        known = [path.name for path in runs.iterdir()] if runs.is_dir() else []
        raise ConfigError(
            f"{signature}: no run of this signature in {runs}.{nearest_name_hint(signature, known)}"
        )
    return folder


@dataclass(frozen=True)
class StartingPoint:
    """Weights to start another run from.

    Attributes:
        origin: where they are from, for messages and the provenance.
        sources: of that model, in its order.
        state: the weights.
        optim: the optimiser's state that belongs to them, None where it is not kept.
    """

    origin: str
    sources: tuple[str, ...]
    state: dict[str, Tensor]
    optim: dict[str, Any] | None = None


def starting_point(name: str, with_optim: bool, runs: Path) -> StartingPoint:
    """Return the weights of a run or of a released model.

    A run stands for its best weights, or, with the optimiser's state, for its last.

    Args:
        name: signature of a run here, or a name in the release folder.
        with_optim: the optimiser's state is needed.
        runs: folder of all runs.

    Raises:
        ConfigError: there is neither; or the optimiser's state is asked of a released model.
        DataError: it is damaged, or not trained yet.
    """
    if Path(name).name == name and checkpoint_path(runs / name).exists():
        checkpoint = load_checkpoint(checkpoint_path(runs / name), CONTENT)
        sources = tuple(_read_json(runs / name / LOCK)["config"]["spec"]["sources"])
        if with_optim:
            origin = f"run {name} after {checkpoint['epoch']} epochs"
            return StartingPoint(origin, sources, checkpoint["model"], checkpoint["optim"])
        best = checkpoint["best"]
        if best is None:
            raise DataError(f"continue_from: no epoch of run {name} is validated yet; train it on")
        return StartingPoint(f"run {name}, epoch {best['epoch']}", sources, best["state"])
    repo = Repo()
    try:
        entry = repo.resolve(name)
    except DataError as error:
        raise ConfigError(
            f"continue_from: {name} is neither a trained run in {runs} nor a released model "
            f"({error})"
        ) from error
    if not isinstance(entry, Entry):
        raise ConfigError(f"continue_from: {name} is a bag; give one of its members")
    if with_optim:
        raise ConfigError(
            f"continue_opt: {entry.name} is a released model, which has no optimiser's state; "
            "continue from a run by its signature, or leave continue_opt out"
        )
    release = repo.load(entry.name)
    (model,) = release.members
    return StartingPoint(f"released model {entry.name}", release.spec.sources, model.state_dict())


def load_trained(signature: str) -> TrainedRun:
    """Return the best model of a run, as its lock and its checkpoint say.

    The model is built from the locked values, so that later edits of `conf/` change nothing.

    Raises:
        ConfigError: no such run.
        DataError: it has no validated model yet, or its files are damaged.
    """
    folder = run_folder(signature)
    path = checkpoint_path(folder)
    if not path.exists() or not (folder / LOCK).exists():
        raise DataError(f"{folder}: this run has no checkpoint yet; train it first (dora run)")
    lock = _read_json(folder / LOCK)["config"]
    spec = registry.make_config(AudioSpec, lock["spec"], "spec")
    model: Separator = registry.build("model", lock["model"], spec)
    state = load_checkpoint(path)
    best = state["best"]
    if best is None:
        raise DataError(
            f"{folder}: no epoch of this run is complete yet, so there is no best model"
        )
    model.load_state_dict(best["state"])
    model.eval()
    provenance = _read_json(folder / PROVENANCE)
    # the hashes of every file stay in the run's folder; the set's fingerprint covers them
    provenance["data"] = {
        split: {**manifest, "tracks": sorted(manifest["tracks"])}
        for split, manifest in provenance["data"].items()
    }
    provenance["training"] = _training_facts(lock, state)
    return TrainedRun(
        model=model,
        arch=lock["model"]["name"],
        signature=signature,
        provenance=provenance,
        scores=_scores(lock, state),
    )


def epochs_of(signature: str) -> tuple[int, int]:
    """Return how many epochs a run has done, and how many it is to do (0: it never started).

    Raises:
        ConfigError: no such run.
        DataError: its files are damaged.
    """
    folder = run_folder(signature)
    if not (folder / LOCK).exists() or not checkpoint_path(folder).exists():
        return 0, 0
    planned = int(_read_json(folder / LOCK)["config"]["train"]["epochs"])
    return len(load_checkpoint(checkpoint_path(folder), CONTENT)["history"]), planned


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: this file of the run can't be read ({error})") from error
    return content


def _training_facts(lock: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    history = state["history"]
    best = state["best"]
    return {
        "epochs": len(history),
        "of": lock["train"]["epochs"],
        "updates": len(history) * (lock["train"]["items"] // lock["train"]["batch_size"]),
        "batch_size": lock["train"]["batch_size"],
        "seconds": round(sum(epoch["train"]["seconds"] for epoch in history), 1),
        "best": {key: best[key] for key in ("metric", "value", "epoch", "origin")},
        "config": dict(lock),
    }


def _scores(lock: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of the best model: validation of its epoch, and the test."""
    history, best = state["history"], state["best"]
    stages = {"valid": history[best["epoch"] - 1]["valid"], "test": history[-1].get("test", {})}
    scores: dict[str, Any] = {}
    for split, metrics in stages.items():
        for measure in metrics:
            keys = {source: f"{measure}_{source}" for source in lock["spec"]["sources"]}
            if not set(keys.values()) <= set(metrics):
                continue  # no measure, but a loss or a duration
            row = {
                **{source: metrics[key] for source, key in keys.items()},
                "mean": metrics[measure],
            }
            # what is not defined, such as the ratio of a source that is always silent, is left out
            known = {name: v for name, v in row.items() if v is not None and math.isfinite(v)}
            scores[f"{measure}/{lock['dset']['name']}/{split}"] = known
    return scores
