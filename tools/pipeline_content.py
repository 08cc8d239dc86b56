"""Signatures of content: of given data, and of whatever can be written as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mss.core.errors import DataError
from mss.core.files import file_sha256
from mss.data.index import TrackFiles, index_files
from mss.data.tracks import FileFacts

DIGITS = 12  # 48 bits


def signature(value: Any) -> str:
    """Return the signature of plain values."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:DIGITS]


def content_signature(path: Path) -> str:
    """Return the signature of a file, or of all files below a folder and their names in it.

    Hidden files are left out. What was read once is remembered (see mss.data.index).

    Raises:
        DataError: there is nothing, or it can't be read.
    """
    if path.is_file():
        files = {"": path}
    else:
        files = {found.relative_to(path).as_posix(): found for found in _visible_files(path)}
    if not files:
        raise DataError(f"{path}: no file is there; name another folder")
    tracks = [TrackFiles(name, {"content": file}) for name, file in sorted(files.items())]
    known = index_files(tracks, _content)
    contents = [facts["content"].sha256 for facts in known]
    return signature([[t.name, sha256] for t, sha256 in zip(tracks, contents, strict=True)])


def _visible_files(root: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in files if not name.startswith("."))


def _content(path: Path) -> FileFacts:
    return FileFacts(file_sha256(path), path.stat().st_size, 0, 0, 0, "")
