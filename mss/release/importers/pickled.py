"""Reading what other programs pickled, without running any of it.

torch's own reader in its `weights_only` mode calls nothing but what is on its list. We add to that
list only stand-ins of ours under the names that foreign files use: no name in a file is imported.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mss.core.errors import DataError

Allowed = tuple[Callable[..., Any], str]
"""(our stand-in, the full name by which a file asks for it)"""

_NAMED = re.compile(r"GLOBAL `?([A-Za-z_][\w.]*)")
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)")
_FETCH_AGAIN = "fetch the file again"
_SHARED = 4  # times that a file's values may be named on average; tied weights are named twice


class ForeignClass:
    """Stands in for a class of another program; only its `path` is ever looked at."""

    path = ""


def foreign_class(path: str) -> Allowed:
    """Return a stand-in for the class ``package.module.Name``."""
    return type(path.rpartition(".")[2], (ForeignClass,), {"path": path}), path


class Ignored:
    """Stands in for a value that only tells of the training: it forgets all that it is given."""

    def __new__(cls, *_args: object) -> Ignored:
        return super().__new__(cls)

    def __init__(self, *_args: object) -> None:
        """Take what the real class is given."""

    def __setstate__(self, state: object) -> None:
        """Take what the real class would become."""


def _ignored(path: str) -> Allowed:
    return type(path.rpartition(".")[2], (Ignored,), {}), path


BOOKKEEPING: tuple[Allowed, ...] = tuple(
    _ignored(path)
    for path in (
        "argparse.Namespace",
        *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath")),
        *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath")),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
          for name in ("scalar", "_reconstruct")),
        "numpy.dtype",
        "numpy.ndarray",
    )
)  # fmt: skip
"""What training programs keep beside the weights: arguments, paths, scores, random states."""


def _fraction(numerator: str | int, denominator: int = 1) -> Fraction:
    """Stand in for fractions.Fraction, which takes hours over a text such as '1e999999999'."""
    if isinstance(numerator, str) and len(numerator) <= 40 and "e" not in numerator.lower():
        return Fraction(numerator)
    if type(numerator) is int and type(denominator) is int:
        return Fraction(numerator, denominator)
    raise ValueError("not a plain fraction")


FRACTION: Allowed = (_fraction, "fractions.Fraction")


def _array(kind: type, shape: tuple[int, ...], code: bytes | str) -> Any:
    """Stand in for numpy's _reconstruct: the empty array that its pickles fill afterwards."""
    if kind is not np.ndarray or tuple(shape) != (0,) or code not in (b"b", "b"):
        raise ValueError("not a plain numpy array")
    return np.ndarray((0,), "b")


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for _codecs.encode, by which old pickles hold bytes."""
    if encoding != "latin1":
        raise ValueError("not plain bytes")
    return text.encode("latin1")


NUMPY: tuple[Allowed, ...] = (
    (_array, "numpy.core.multiarray._reconstruct"),
    (_array, "numpy._core.multiarray._reconstruct"),
    (np.ndarray, "numpy.ndarray"),
    (np.dtype, "numpy.dtype"),
    *((type(np.dtype(code)), f"numpy.dtypes.{type(np.dtype(code)).__name__}") for code in "fd"),
    (_latin1, "_codecs.encode"),
)
"""What arrays of numbers need, and nothing else of numpy."""


def read_pickled(
    path: Path | str, allowed: Iterable[Allowed] = (), content: bytes | None = None
) -> Any:
    """Return the content of a file that torch.save wrote.

    Args:
        path: the file.
        allowed: stand-ins for what it may name besides tensors and plain values.
        content: of a file within another one, which `path` names in messages.

    Raises:
        DataError: damaged, not such a file, or naming anything else; nothing was run then.
    """
    if content is None and not Path(path).is_file():
        raise DataError(f"{path}: there is no such file; check the name")
    try:
        size = Path(path).stat().st_size if content is None else len(content)
        if _unpacked(_source(path, content)) > size:
            raise DataError(
                f"{path}: a compressed archive, which torch.save never writes and which may unpack "
                "to any size; bring the file as its author published it"
            )
        with torch.serialization.safe_globals([*allowed]):
            return torch.load(_source(path, content), map_location="cpu", weights_only=True)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error}") from error
    except Exception as error:  # a hostile or damaged pickle may end in any of them
        raise DataError(f"{path}: {_diagnosis(str(error))}") from error


def _source(path: Path | str, content: bytes | None) -> Path | str | io.BytesIO:
    return path if content is None else io.BytesIO(content)


def _unpacked(source: Path | str | io.BytesIO) -> int:
    """Return how many bytes the entries of an archive of torch.save are; 0: it is no archive."""
    if not zipfile.is_zipfile(source):
        return 0
    with zipfile.ZipFile(source) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _diagnosis(message: str) -> str:
    """Say in a sentence why torch refused a file."""
    found = _NAMED.search(message)
    if found is not None:
        name = found.group(1).rstrip(".")
        if name.startswith("diffq."):
            return QUANTISED
        return (
            f"asks for {name!r}, which is no part of a checkpoint that Stemgrid can import; "
            "nothing in it was run. Ask its author for the plain weights (a state dict or a "
            "safetensors file)"
        )
    if "TorchScript" in message:
        return "a TorchScript program, not weights; bring the checkpoint that it was made from"
    # torch's own first lines advise to load it without its checks, which would run what it holds
    inner = _REASON.search(message)
    reason = (inner.group(1) if inner is not None else message).strip().partition("\n")[0]
    if reason.startswith("Unsupported operand"):
        reason = "its bytes are no pickle of the kind that torch.save writes by default"
    shown = f" ({reason[:80]})" if " " in reason else ""  # a bare value tells nothing
    return f"damaged, truncated or not a file of torch.save{shown}; {_FETCH_AGAIN}"


QUANTISED = (
    "its weights are quantised by diffq, which is not read here; bring the model in full precision "
    "(mdx instead of mdx_q, mdx_extra instead of mdx_extra_q)"
)


def require_state(content: Any, path: Path | str) -> dict[str, Tensor]:
    """Return a state dict with floating-point values as float32.

    Raises:
        DataError: anything but plain tensors by name, all of whose values lie in the file.
    """
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: holds no weights by name; bring the file with the state dict")
    if "__quantized" in content:
        raise DataError(f"{path}: {QUANTISED}")
    state = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            value = torch.from_numpy(value.copy())
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(
                f"{path}: {str(name)[:80]!r} is a {type(value).__name__}, not a weight; bring the "
                "file with the state dict alone"
            )
        if not _lies_there(value):
            raise DataError(
                f"{path}: {name[:80]!r} is no plain tensor whose values all lie in the file "
                "(sparse, nested, empty of data, or one value repeated); bring the file with the "
                "state dict alone"
            )
        state[name] = value
    stored = {value.untyped_storage().data_ptr(): value for value in state.values()}
    if sum(map(_bytes, state.values())) > _SHARED * sum(map(_stored_bytes, stored.values())):
        raise DataError(
            f"{path}: its weights are a few values under many names, which no model that can be "
            "imported has; bring the file with the state dict alone"
        )
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


def _lies_there(value: Tensor) -> bool:
    """Tell a dense tensor with a value in memory for each element.

    An expanded one has fewer: a small file would ask for any amount of memory.
    """
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
    return plain and _stored_bytes(value) >= _bytes(value)


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def _stored_bytes(value: Tensor) -> int:
    return value.untyped_storage().nbytes()
