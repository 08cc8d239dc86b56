"""Files of demucs: pickled models (.th), safetensors since its version 4.1, and yaml bags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from mss.core.errors import DataError, nearest_name_hint
from mss.release.importers.foreign import Foreign, ForeignBag, verified
from mss.release.importers.pickled import (
    FRACTION,
    QUANTISED,
    ForeignClass,
    foreign_class,
    require_state,
)
from mss.release.importers.plain_files import read_safetensors, read_yaml
from mss.release.importers.translators import kinds

CLASSES = (
    "demucs.htdemucs.HTDemucs",
    "demucs.hdemucs.HDemucs",
    "demucs.wdemucs.WDemucs",
    "demucs.demucs.Demucs",
)
"""Full names of the classes whose weights are known; matched by equality, never imported."""

ALLOWED = (*(foreign_class(path) for path in CLASSES), FRACTION)

_LONGEST = 3600  # s, of a bag's chunk
_HEAVIEST = 1_000_000  # weight in a bag
_PARTS = ("klass", "args", "kwargs", "state")


def is_demucs(content: Any) -> bool:
    """Tell whether an unpickled file is a model as demucs saves it."""
    return isinstance(content, Mapping) and {"klass", "state"} <= content.keys()


def demucs_model(path: Path, content: Mapping[str, Any]) -> Foreign:
    """Return the model of an unpickled .th file, ``{klass, args, kwargs, state, ...}``.

    The weights lie in half precision there; their values are kept.

    Raises:
        DataError: a wrong checksum, a missing or damaged key, quantised weights or another class.
    """
    hashed = verified(path)
    if missing := [key for key in _PARTS if key not in content]:
        raise DataError(
            f"{path}: the key {missing[0]!r} is missing, which demucs writes; fetch the file again"
        )
    klass = content["klass"]
    if not (isinstance(klass, type) and issubclass(klass, ForeignClass)):
        raise DataError(f"{path}: klass: {klass!r} is no class of demucs; {_known_classes()}")
    return Foreign(
        path=path,
        format="demucs .th",
        translator=f"demucs/{klass.__name__}",
        options=_options(content["args"], content["kwargs"], path),
        state=require_state(content["state"], path),
        signature=_signature(hashed.stem, hashed.sha256),
        files={path.name: hashed.sha256},
    )


def demucs_safetensors(path: Path, metadata: Mapping[str, str]) -> Foreign:
    """Return the model of a safetensors file of demucs 4.1 (`klass` in its metadata).

    Raises:
        DataError: a missing or damaged key, quantised weights or another class.
    """
    if "structure" in metadata:
        raise DataError(f"{path}: {QUANTISED}")
    if metadata["klass"] not in CLASSES:
        raise DataError(f"{path}: klass: {metadata['klass']!r} is unknown; {_known_classes()}")
    hashed = verified(path)
    _, state = read_safetensors(path)
    return Foreign(
        path=path,
        format="demucs safetensors",
        translator=f"demucs/{metadata['klass'].rpartition('.')[2]}",
        options=_options(_json(metadata, "args", path), _json(metadata, "kwargs", path), path),
        state=require_state(state, path),
        signature=_signature(hashed.stem, hashed.sha256),
        files={path.name: hashed.sha256},
    )


def _options(args: Any, kwargs: Any, path: Path) -> dict[str, Any]:
    """Return the arguments of the network as a translator takes them."""
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        raise DataError(
            f"{path}: args and kwargs: demucs writes a list and a mapping, here they are a "
            f"{type(args).__name__} and a {type(kwargs).__name__}; fetch the file again"
        )
    return {"args": list(args), "kwargs": dict(kwargs)}


def _signature(stem: str, sha256: str) -> str:
    """Return the signature that a file is named after, else the start of its hash."""
    plain = stem.isalnum() and stem.isascii()
    return stem if plain else sha256[:8]


def _known_classes() -> str:
    return f"importable are {', '.join(sorted(set(kinds('demucs')) - {'WDemucs'}))}"


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    if key not in metadata:
        raise DataError(f"{path}: the key {key!r} is missing in its metadata; fetch it again")
    try:
        return _decoded(json.loads(metadata[key]))
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise DataError(
            f"{path}: {key!r} in its metadata is not the JSON that demucs writes ({error!r}); "
            "fetch it again"
        ) from error


def _decoded(value: Any) -> Any:
    """Undo the JSON form of fractions, ``{"_type": "fraction", "numerator": 39, ...}``."""
    if isinstance(value, dict):
        if value.get("_type") == "fraction":
            return Fraction(int(value["numerator"]), int(value["denominator"]))
        return {key: _decoded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    return value


# --- bags ----------------------------------------------------------------------------------------


def demucs_bag(path: Path) -> ForeignBag:
    """Read a bag's yaml, ``{models: [sig, ...], weights, segment}``, with its models beside it.

    Raises:
        DataError: not such a yaml, a value that is wrong, or a model's file that is not there.
    """
    plain = read_yaml(path)
    models = plain.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(m, str) for m in models):
        raise DataError(
            f"{path}: not a bag of demucs, which has a list of signatures under 'models'; for a "
            "yaml of another kind, give the checkpoint and this file by --config"
        )
    for key in plain:
        if key not in ("models", "weights", "segment"):
            hint = nearest_name_hint(str(key), ("models", "weights", "segment"))
            raise DataError(f"{path}: {key}: a bag has no such key.{hint}")
    segment = plain.get("segment")
    if segment is not None and not _number_up_to(_LONGEST, segment):
        raise DataError(
            f"{path}: segment: {segment!r} is no number of seconds (above 0, at most {_LONGEST}); "
            "fetch it again"
        )
    return make_bag(
        path,
        path.stem,
        {signature: _beside(path, signature) for signature in models},
        models,
        _weights(plain.get("weights"), len(models), path),
        segment,
    )


def make_bag(
    path: Path,
    name: str,
    files: Mapping[str, Path],
    models: list[str],
    weights: tuple[tuple[float, ...], ...] | None,
    segment: float | None,
) -> ForeignBag:
    """Return a bag; a model that it names twice counts twice.

    Args:
        path: for messages.
        name: of the bag.
        files: by signature.
        models: signatures, perhaps repeated.
        weights: [models][sources] or None.
        segment: seconds or None.
    """
    if len(set(models)) == len(models):
        return ForeignBag(path, name, tuple(files[m] for m in models), weights, segment)
    rows = weights if weights is not None else ((1.0,),) * len(models)
    summed: dict[str, tuple[float, ...]] = {}
    for model, row in zip(models, rows, strict=True):
        old = summed.get(model, (0.0,) * len(row))
        summed[model] = tuple(a + b for a, b in zip(old, row, strict=True))
    alike = len(set(summed.values())) == 1
    return ForeignBag(
        path,
        name,
        tuple(files[model] for model in summed),
        None if alike else tuple(summed.values()),
        segment,
    )


def _beside(bag: Path, signature: str) -> Path:
    """Return the file of a signature in the bag's folder."""
    # equality, not a glob pattern: a signature comes from a file
    fitting = [
        file
        for file in sorted(bag.parent.iterdir())
        if file.suffix in (".th", ".safetensors") and file.stem.partition("-")[0] == signature
    ]
    if not fitting:
        raise DataError(
            f"{bag}: the model {signature!r} is not beside it; bring {signature}-<checksum>.th (or "
            f"{signature}.safetensors) into the same folder"
        )
    return fitting[0]


def _weights(rows: Any, count: int, path: Path) -> tuple[tuple[float, ...], ...] | None:
    """Check a bag's weights, [models][sources]."""
    if rows is None:
        return None
    if not (
        isinstance(rows, list)
        and len(rows) == count
        and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
        and all(value == 0 or _number_up_to(_HEAVIEST, value) for row in rows for value in row)
    ):
        raise DataError(
            f"{path}: weights: {count} rows (one a model) of equally many numbers >= 0 (one a "
            f"source, at most {_HEAVIEST}) are needed; fetch the file again"
        )
    return tuple(tuple(float(value) for value in row) for row in rows)


def _number_up_to(highest: int, value: Any) -> bool:
    """Tell a number in (0, highest]: neither true nor NaN nor infinite."""
    return type(value) in (int, float) and 0 < value <= highest
