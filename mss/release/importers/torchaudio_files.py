"""Weights of torchaudio's bundles HDEMUCS_HIGH_MUSDB and HDEMUCS_HIGH_MUSDB_PLUS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mss.core.files import file_sha256
from mss.release.importers.foreign import Foreign
from mss.release.importers.pickled import require_state

_FIRST_WEIGHT = "freq_encoder.0.conv.weight"


def is_torchaudio(content: Any) -> bool:
    """Tell a state dict of torchaudio.models.HDemucs by a name that no other program uses."""
    return isinstance(content, Mapping) and _FIRST_WEIGHT in content


def torchaudio_model(path: Path, content: Any) -> Foreign:
    """Return the model of a bundle's file, a plain state dict.

    Raises:
        DataError: something else than weights lies in it.
    """
    sha256 = file_sha256(path)
    return Foreign(
        path=path,
        format="torchaudio bundle",
        translator="torchaudio/HDemucs",
        options={"sources": ["drums", "bass", "other", "vocals"]},
        state=require_state(content, path),
        signature=sha256[:8],
        files={path.name: sha256},
    )
