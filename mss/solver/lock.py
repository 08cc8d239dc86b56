"""What a run was started with, and whether it is still the same when it goes on.

A signature covers what was said on the command line, not the defaults it was said against, nor the
data. So a run keeps `config.lock.json` (every resolved value that can change a result, and the
data's fingerprint) and `provenance.json` (code, packages, data in full). A start compares the lock
before anything is built (`check_lock`) and writes it when everything was (`write_lock`), so that
values which never trained bind nobody.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mss import __version__
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.solver.checkpoint import checkpoint_path

logger = logging.getLogger(__name__)

LOCK = "config.lock.json"
PROVENANCE = "provenance.json"


def check_lock(
    folder: Path,
    config: Mapping[str, Any],
    fingerprint: str,
    accept_changes: bool = False,
    open_mappings: Iterable[str] = (),
    has_checkpoint: bool | None = None,
) -> None:
    """Compare a start with the lock of the run that it goes on with; write nothing.

    A lock without a checkpoint beside it is of a start that trained nothing: it is not looked at.

    Args:
        folder: the run's folder.
        config: resolved config without the keys outside the signature, as JSON would give it back.
        fingerprint: of the data's content.
        accept_changes: go on with the new values.
        open_mappings: dotted names of mappings whose keys and their order are the user's; see
            `config_changes`.
        has_checkpoint: whether the run has trained; None: whether its checkpoint exists.

    Raises:
        ConfigError: a value changed since the run started, or the data did.
        DataError: the lock of a trained run is missing or damaged.
    """
    if has_checkpoint is None:
        has_checkpoint = checkpoint_path(folder).exists()
    if not has_checkpoint:
        return
    path = folder / LOCK
    if not path.exists():
        if accept_changes:
            logger.warning("%s: missing; going on with the values of now", path)
            return
        raise DataError(
            f"{path}: missing, so what this run's checkpoint was trained with is unknown; "
            "restore it, or go on with the values of now by misc.accept_changes=true"
        )
    old_config, old_data = _read_lock(path)
    message = ""
    changes = list(config_changes(old_config, config, open_mappings=open_mappings))
    if changes:
        message = "the configuration changed since this run started:\n" + "\n".join(
            f"  {key}: {before!r} -> {after!r}" for key, before, after in changes
        )
    if old_data != fingerprint:
        message += ("\n" if message else "") + (
            f"other data (content {old_data[:8]}, now {fingerprint[:8]}): songs, stems or labels "
            "are not what they were; give dset.name (distill.songs, if they are those that a "
            "distillation adds), so that it becomes a run of its own"
        )
    if message and not accept_changes:
        raise ConfigError(
            f"{folder}: {message}\nRestore the values, start a run of another signature, or "
            "go on with the new ones by misc.accept_changes=true"
        )
    if message:
        logger.warning("Going on although %s", message)


def write_lock(folder: Path, config: Mapping[str, Any], fingerprint: str) -> None:
    """Write the lock, over the one that stands there.

    Call it when all of the run is built and its checkpoint taken up.

    Raises:
        DataError: it could not be written.
    """
    _write_json(folder / LOCK, {"config": dict(config), "data": fingerprint})


def config_changes(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    prefix: str = "",
    open_mappings: Iterable[str] = (),
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, old value, new value) where a value changed or went away.

    A key that only `new` has is no change: its default reproduces what was done before it existed.
    Not so below the keys of `open_mappings`: a user fills these, in an order that may matter, so
    they are compared as a whole, as ordered lists of pairs.
    """
    whole = frozenset(open_mappings)
    for key, before in old.items():
        name = f"{prefix}{key}"
        if key not in new:
            yield name, before, None
            continue
        after = new[key]
        if name not in whole and isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from config_changes(before, after, f"{name}.", whole)
        elif json.dumps(before) != json.dumps(after):  # tells 1, 1.0 and true apart; keeps order
            yield name, before, after
    for key, after in new.items():
        if key not in old and f"{prefix}{key}" in whole and after:
            yield f"{prefix}{key}", None, after


def _read_lock(path: Path) -> tuple[dict[str, Any], str]:
    lock = _read_json(path, "restore it, or remove it and give misc.accept_changes=true")
    config, data = lock.get("config"), lock.get("data")
    if not isinstance(config, dict) or not isinstance(data, str):
        raise DataError(
            f"{path}: this lock holds no config and data; "
            "restore it, or remove it and give misc.accept_changes=true"
        )
    return config, data


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor JSON
        raise DataError(f"{path}: this file can't be read ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: this file holds no JSON object; {remedy}")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    try:
        write_json_atomic(path, value)
    except OSError as error:
        raise DataError(
            f"{path}: this file could not be written ({error}); "
            "free space or give another folder by dora.dir, then run again"
        ) from error


def source_tree_hash(root: Path) -> str:
    """Return the SHA-256 over every Python file below `root`, by relative name and content."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _package_hash() -> str:
    return source_tree_hash(Path(__file__).resolve().parent.parent)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def provenance(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Describe the code, the environment and the data of a run."""
    packages = {
        dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]
    }
    return {
        "created": _now(),
        "stemgrid": __version__,
        "source": _package_hash(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "data": dict(data),
    }


def write_provenance(
    folder: Path, data: Mapping[str, Mapping[str, Any]], continued_from: str | None = None
) -> dict[str, Any]:
    """Keep `provenance.json` true over every start of a run; return what it holds.

    The first start describes everything (`provenance`). A later one with other code or data than
    the start before it adds an entry to the list `later`: ``created``, ``stemgrid`` (the version),
    ``source`` (hash of the code) and ``data`` (the fingerprint of each split).

    Args:
        folder: the run's folder.
        data: the manifest of each split (`TrackSet.manifest`), with its ``fingerprint``.
        continued_from: where the first start took its weights from.

    Raises:
        DataError: the file is damaged or could not be written.
    """
    path = folder / PROVENANCE
    if not path.exists():
        described = provenance(data)
        if continued_from is not None:
            described["continued_from"] = continued_from
        _write_json(path, described)
        return described
    stored = _read_json(path, "restore it, or remove it to describe the run anew")
    source, fingerprints = _package_hash(), _fingerprints(data)
    later = stored.get("later", [])
    if later:
        known = later[-1].get("source"), later[-1].get("data")
    else:
        known = stored.get("source"), _fingerprints(stored.get("data", {}))
    if known == (source, fingerprints):
        return stored
    if known[0] != source:
        logger.warning("The code changed since this run last started (noted in %s)", PROVENANCE)
    entry = {"created": _now(), "stemgrid": __version__, "source": source, "data": fingerprints}
    described = {**stored, "later": [*later, entry]}
    _write_json(path, described)
    return described


def _fingerprints(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {split: manifest.get("fingerprint") for split, manifest in data.items()}
