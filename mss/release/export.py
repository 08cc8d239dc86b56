"""From a trained model to a listed release."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mss.core.separator import Separator
from mss.core.types import InferenceDefaults
from mss.release.header import NO_LICENCE
from mss.release.package import save_package
from mss.release.repo import Repo


def export_model(
    model: Separator,
    repo_root: str | os.PathLike[str],
    *,
    arch: str,
    signature: str,
    inference: InferenceDefaults | None = None,
    provenance: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    licence: str = NO_LICENCE,
    created: str | None = None,
    default: bool = False,
) -> Path:
    """Write a model into a repo, list it and write its card; return the released file's path.

    The file is reloaded and compared with the model before it is listed. Exporting the same weights
    with the same facts again gives the same file and keeps its entry's date and scores.

    Args:
        model: with the weights to release.
        repo_root: folder of the repo, made where it is missing.
        arch, signature, inference, provenance, scores, licence, created: see save_package.
        default: make it the repo's default model (the first one always is).

    Raises:
        ConfigError: see save_package.
        DataError: see Repo.add.
    """
    path = save_package(
        model,
        repo_root,
        arch=arch,
        signature=signature,
        inference=inference,
        provenance=provenance,
        scores=scores,
        licence=licence,
        created=created,
    )
    Repo(repo_root).add(path, default=default)
    return path
