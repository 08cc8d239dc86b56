"""Atomic file writes: a reader sees the old content or the new, never a half."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mss.core.errors import DataError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    On any exception (Ctrl-C included) the temporary file is removed and `path` is left as it was.

    Args:
        path: final location. Its folder is created.
        suffix: ending of the temporary name, where a writer picks its format by the name
            (default: that of `path`).
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        prefix=f".{final.name[:80]}.",
        suffix=final.suffix if suffix is None else suffix,
        dir=final.parent,
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        # mkstemp makes 0600; a result should have the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(final.parent)


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the platform can open a folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomic(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON atomically. NaN and infinities are refused (not JSON)."""
    write_text_atomic(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def check_file_place(path: Path, remedy: str) -> None:
    """Make sure, before anything that takes long, that a file can come to lie at `path`.

    Raises:
        DataError: it is a folder, or something above it is a file; `remedy` ends the message.
    """
    if os.path.isdir(path):  # not Path.is_dir, which raises for names that are too long
        raise DataError(f"{path}: is a folder, not a file. {remedy}")
    check_folder_place(path.parent, remedy)


def check_folder_place(path: Path, remedy: str) -> None:
    """Make sure, before anything that takes long, that `path` can be a folder.

    Raises:
        DataError: it, or something above it, is a file; `remedy` ends the message.
    """
    for folder in (path, *path.parents):
        if os.path.isdir(folder):
            return
        if os.path.lexists(folder):
            raise DataError(f"{folder}: is a file, not a folder. {remedy}")


def file_sha256(path: str | os.PathLike[str], chunk_bytes: int = 1 << 20) -> str:
    """Return the hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(chunk_bytes):
            digest.update(block)
    return digest.hexdigest()
