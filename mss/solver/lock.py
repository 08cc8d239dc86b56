"""What a run was started with, and whether it is still the same when it goes on.

A signature covers what was said on the command line, not the defaults it was said against, nor the
data. So the first start writes `config.lock.json` (every resolved value that can change a result,
and the data's fingerprint) and `provenance.json` (code, packages, data in full); a resume whose
values changed stops and shows the difference.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mss import __version__
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic

logger = logging.getLogger(__name__)

LOCK = "config.lock.json"
PROVENANCE = "provenance.json"


def check_lock(
    folder: Path, config: Mapping[str, Any], fingerprint: str, accept_changes: bool = False
) -> None:
    """Write the lock at the first start, compare with it at every later one.

    Args:
        folder: the run's folder.
        config: resolved config without the keys outside the signature.
        fingerprint: of the training data's content.
        accept_changes: go on with the new values, and lock those.

    Raises:
        ConfigError: a value changed since the run started, or the data did.
    """
    path = folder / LOCK
    new = {"config": dict(config), "data": fingerprint}
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            old_config, old_data = old["config"], old["data"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: this lock can't be read ({error}); restore it") from error
        changes = list(config_changes(old_config, config))
        problems = [f"  {key}: {before!r} -> {after!r}" for key, before, after in changes]
        message = ""
        if problems:
            message = "the configuration changed since this run started:\n" + "\n".join(problems)
        if old_data != fingerprint:
            message += ("\n" if message else "") + (
                f"other data (content {old_data[:8]}, now {fingerprint[:8]}): give dset.name, "
                "so that it becomes a run of its own"
            )
        if message and not accept_changes:
            raise ConfigError(
                f"{folder}: {message}\nRestore the values, start a run of another signature, or "
                "go on with the new ones by misc.accept_changes=true"
            )
        if message:
            logger.warning("Going on although %s", message)
    write_json_atomic(path, new)


def config_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, old value, new value) where a value changed or went away.

    A key that only `new` has is no change: its default reproduces what was done before it existed.
    """
    for key, before in old.items():
        name = f"{prefix}{key}"
        if key not in new:
            yield name, before, None
            continue
        after = new[key]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from config_changes(before, after, f"{name}.")
        elif before != after or type(before) is not type(after):
            yield name, before, after


def source_tree_hash(root: Path) -> str:
    """Return the SHA-256 over every Python file below `root`, by relative name and content."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def provenance(data: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the code, the environment and the data of a run."""
    packages = {
        dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]
    }
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stemgrid": __version__,
        "source": source_tree_hash(Path(__file__).resolve().parent.parent),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        "data": dict(data),
    }


def write_provenance(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Write `provenance.json` at the first start; later starts return what stands there."""
    path = folder / PROVENANCE
    if path.exists():
        try:
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: this file can't be read ({error}); restore it") from error
        now = source_tree_hash(Path(__file__).resolve().parent.parent)
        if stored.get("source") != now:
            logger.warning("The code changed since this run started (%s)", PROVENANCE)
        return stored
    described = provenance(data)
    write_json_atomic(path, described)
    return described
