"""X-UMX as asteroid serialises it: ``{model_name, state_dict, model_args, infos}`` in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mss.core.errors import DataError
from mss.core.files import file_sha256
from mss.release.importers.foreign import Foreign
from mss.release.importers.pickled import Allowed, require_state

ALLOWED: tuple[Allowed, ...] = ((str, "torch.torch_version.TorchVersion"),)
"""A version number among its facts is of this class of text."""


def is_asteroid(content: Any) -> bool:
    """Tell whether an unpickled file is a model as asteroid serialises it."""
    return isinstance(content, Mapping) and {"model_args", "state_dict"} <= content.keys()


def asteroid_model(path: Path, content: Mapping[str, Any]) -> Foreign:
    """Return the model of an unpickled file.

    Raises:
        DataError: another model than X-UMX, or something else than weights.
    """
    name = content.get("model_name", "XUMX")
    if name != "XUMX":
        raise DataError(
            f"{path}: model_name: {name!r} of asteroid is unknown; importable is its XUMX"
        )
    sha256 = file_sha256(path)
    return Foreign(
        path=path,
        format="asteroid X-UMX",
        translator="asteroid/XUMX",
        options={key: value for key, value in content.items() if key != "state_dict"},
        state=require_state(content["state_dict"], path),
        signature=sha256[:8],
        files={path.name: sha256},
    )
