"""Files that can hold nothing but values: yaml, JSON, safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mss.core.errors import DataError


class _PlainLoader(yaml.SafeLoader):
    """yaml of plain values and, as the configurations of others have them, tuples."""


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, "a tuple is a list", node.start_mark)
    return tuple(loader.construct_sequence(node, deep=True))


_PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a yaml file's mapping; of its ``!!python/...`` tags only tuples are understood.

    Raises:
        DataError: there is no such file, it is not yaml, it holds another tag, or no mapping.
    """
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the name") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: can't be read as a yaml of plain values ({reason[:160]}); bring the file as "
            "its author published it"
        ) from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: not a mapping of keys to values; bring the model's own yaml")
    return plain


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping.

    Raises:
        DataError: there is no such file, or no JSON mapping in it.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; bring it") from error
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path}: can't be read as JSON ({error}); fetch it again") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: not a JSON mapping; fetch it again")
    return plain


def is_safetensors(path: Path) -> bool:
    """Tell a safetensors file by its start: eight bytes of length, then JSON."""
    with open(path, "rb") as handle:
        return handle.read(9)[8:] == b"{"


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        DataError: see read_safetensors.
    """
    return _read(path, weights=False)[0]


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file.

    Raises:
        DataError: damaged or truncated.
    """
    return _read(path, weights=True)


def _read(path: Path, weights: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys() if weights else ()
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: damaged, truncated or not safetensors ({error}); fetch it again"
        ) from error
