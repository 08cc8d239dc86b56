"""A folder of Open-Unmix: one file of weights a target, and what it was trained with as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from mss.core.errors import DataError
from mss.core.files import file_sha256
from mss.release.importers.foreign import Foreign, verified
from mss.release.importers.msst_files import unwrapped
from mss.release.importers.pickled import BOOKKEEPING, read_pickled, require_state
from mss.release.importers.plain_files import read_json

_ENDING = ".pth"
_SEPARATOR = "separator.json"
# umxhq's order, which Open-Unmix's own separator keeps; what it does not name follows
_ORDER = ("vocals", "drums", "bass", "other")


def openunmix_model(folder: Path, files: Iterable[Path] | None = None) -> Foreign:
    """Return the model of a folder: ``vocals-b62c91ce.pth`` ..., `separator.json`, `vocals.json`.

    The JSON files are optional: what they say shows in the weights or is as published.

    Args:
        folder: of the files.
        files: the weights among them (default: every .pth in the folder).

    Raises:
        DataError: no weights, two files of one target, a wrong checksum, or no JSON.
    """
    # one order, hence one signature, however the files were asked for
    found = sorted(folder.glob(f"*{_ENDING}") if files is None else files)
    if not found:
        raise DataError(
            f"{folder}: holds no <target>{_ENDING}, as Open-Unmix names its weights; give the "
            "folder of the files, or one checkpoint"
        )
    state: dict[str, Tensor] = {}
    hashes: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for path in found:
        hashed = verified(path)
        if hashed.stem in paths:
            raise DataError(
                f"{folder}: {paths[hashed.stem].name} and {path.name} are both weights of "
                f"{hashed.stem!r}; leave one of them there"
            )
        paths[hashed.stem] = path
        hashes[path.name] = hashed.sha256
        weights = require_state(unwrapped(read_pickled(path, BOOKKEEPING)), path)
        state |= {f"{hashed.stem}.{name}": value for name, value in weights.items()}
    targets = sorted(paths, key=lambda name: (_ORDER.index(name) if name in _ORDER else 9, name))
    options: dict[str, Any] = {"targets": targets}
    for key, name in [("separator", _SEPARATOR), *((t, f"{t}.json") for t in targets)]:
        if (path := folder / name).is_file():
            options[key] = read_json(path)
            hashes[name] = file_sha256(path)
    return Foreign(
        path=folder,
        format="Open-Unmix files",
        translator="openunmix/OpenUnmix",
        options=options,
        state=state,
        signature=hashlib.sha256("".join(hashes[p.name] for p in found).encode()).hexdigest()[:8],
        files=hashes,
    )


def is_openunmix(content: Any) -> bool:
    """Tell the weights of one target of Open-Unmix by names that only those have together."""
    names = {"input_mean", "output_scale", "fc1.weight", "fc3.weight"}
    plain = unwrapped(content)
    return isinstance(plain, dict) and names <= plain.keys()
