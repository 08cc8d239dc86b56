"""What a reader gives: one foreign model as its files state it, or a bag of such files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mss.core.errors import DataError
from mss.core.files import file_sha256


@dataclass(frozen=True)
class Foreign:
    """A foreign model before its translation.

    Attributes:
        path: of its file or folder, for messages.
        format: what was read, in words.
        translator: key in mss.release.importers.translators.
        options: as the source states them.
        state: under the source's names, float32.
        signature: by which the imported model goes: the source's own, else the start of a hash.
        files: SHA-256 by name of every file that was read.
        version: of the package that it came in.
    """

    path: Path
    format: str
    translator: str
    options: Mapping[str, Any]
    state: Mapping[str, Tensor]
    signature: str
    files: Mapping[str, str]
    version: str | None = None


@dataclass(frozen=True)
class ForeignBag:
    """A bag of demucs: files whose models' outputs are averaged.

    Attributes:
        path: of the file that says so, for messages.
        name: of the bag.
        files: of the members, each once.
        weights: [members][sources]; None: all alike.
        segment: seconds of one chunk; None: each member's own.
    """

    path: Path
    name: str
    files: tuple[Path, ...]
    weights: tuple[tuple[float, ...], ...] | None = None
    segment: float | None = None


@dataclass(frozen=True)
class Hints:
    """What a user may have to say about a checkpoint that does not say it itself.

    Attributes:
        config: the yaml file that belongs to it.
        kind: the architecture, as Music-Source-Separation-Training names it.
    """

    config: Path | None = None
    kind: str | None = None


NO_HINTS = Hints()


_NAMED_HASH = re.compile(r"[-_]([0-9a-f]{8})")


@dataclass(frozen=True)
class Hashed:
    """A file's name without its checksum, and the SHA-256 that was verified."""

    stem: str
    sha256: str = field(repr=False)


def verified(path: Path) -> Hashed:
    """Hash a file and hold it against the eight hex digits that its name may end in.

    Demucs (``955717e8-8726e21a.th``) and torch.hub (``vocals-b62c91ce.pth``) name files so.

    Raises:
        DataError: there is no such file, or it is another than its name says.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the name")
    found = file_sha256(path)
    ending = _NAMED_HASH.fullmatch(path.stem[-9:])
    if ending is None:
        return Hashed(path.stem, found)
    if found[:8] != ending.group(1):
        raise DataError(
            f"{path}: damaged or changed: its SHA-256 starts with {found[:8]}, not with "
            f"{ending.group(1)} as its name says; fetch it again, or rename it if that ending is "
            "no checksum"
        )
    return Hashed(path.stem[:-9], found)
