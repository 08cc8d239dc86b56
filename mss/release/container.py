"""The container of a release: a safetensors file with a JSON header and checksums.

This is the file alone: what is read is verified here, and becomes a model in mss.release.package.
Nothing here unpickles.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import mss
from mss.core.errors import DataError
from mss.core.files import file_sha256
from mss.release.header import SCHEMA, Header, header_from_plain, header_to_json

SUFFIX = ".safetensors"
_METADATA_KEY = "stemgrid"
_DIGEST_KEY = "content_sha256"
_FETCH_AGAIN = "fetch the file or export the model again"

# First bytes of what people rename or download by mistake, and what to do with it.
_FOREIGN_FILES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes, with a pickle inside"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
)


def write_container(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write header and tensors (contiguous, on the CPU, sharing no memory) to `path`.

    Equal content gives equal bytes.
    """
    text = header_to_json(header)
    sealed = json.dumps({**json.loads(text), _DIGEST_KEY: _content_sha256(text, tensors)})
    save_file(dict(tensors), path, metadata={_METADATA_KEY: sealed})


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what a released file says about itself. No weights are read, no checksum is taken.

    Raises:
        DataError: not a released file, damaged, or of a newer schema.
    """
    with _opened(Path(path)) as (_, plain):
        _check_schema(plain, Path(path))
        plain.pop(_DIGEST_KEY, None)
        return header_from_plain(plain, Path(path))


def verify_package(path: str | os.PathLike[str], sha256: str | None = None) -> Header:
    """Check a released file's integrity without building its model, and return its header.

    Args:
        path: the file.
        sha256: of the whole file, as an index states it. Without it the file is held against the
            start of the hash in its name and against the digest in its header.

    Raises:
        DataError: see load_package.
    """
    return read_verified(Path(path), sha256)[0]


def read_verified(path: Path, sha256: str | None) -> tuple[Header, dict[str, Tensor]]:
    """Return header and tensors of a file whose checksums hold."""
    with _opened(path) as (file, plain):
        # Before anything in the header is believed: damage there could look like another fault.
        _check_file_hash(path, plain, sha256)
        _check_schema(plain, path)
        digest = plain.pop(_DIGEST_KEY, None)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # The whole file's hash, where there was one, has told the same already.
        if sha256 is None and digest != _content_sha256(json.dumps(plain), tensors):
            raise DataError(
                f"{path}: damaged: its content does not match the SHA-256 in its header; "
                f"{_FETCH_AGAIN}"
            )
        return header_from_plain(plain, path), tensors


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the open safetensors file and the parsed JSON of its header."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the name, or {_FETCH_AGAIN}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file, _parse_metadata(file.metadata(), path)
    except SafetensorError as error:
        raise DataError(f"{path}: {_diagnosis(path, error)}") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error}") from error


def _parse_metadata(metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any]:
    """Return the JSON object under our key of the safetensors metadata."""
    text = (metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise DataError(
            f"{path}: a safetensors file, but not a Stemgrid release (no {_METADATA_KEY!r} in its "
            "metadata); import a foreign checkpoint instead of loading it"
        )
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged: its header is not JSON; {_FETCH_AGAIN}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path}: damaged: its header is not a mapping; {_FETCH_AGAIN}")
    return plain


def _diagnosis(path: Path, error: Exception) -> str:
    """Say what an unreadable file is, by its first bytes alone."""
    with open(path, "rb") as handle:
        start = handle.read(16)
    # A safetensors file is 8 bytes of length, then JSON; the length may look like a pickle's start.
    has_json = start[8:9] == b"{"
    for magic, kind in _FOREIGN_FILES:
        if start.startswith(magic) and not has_json:
            return (
                f"{kind}, not safetensors, whatever its name says. It was not opened: unpickling a "
                "file runs any code that it holds. Ask its author for a safetensors file"
            )
    size = path.stat().st_size
    return f"damaged, truncated or not safetensors ({error}; {size} bytes); {_FETCH_AGAIN}"


def _check_file_hash(path: Path, plain: Mapping[str, Any], sha256: str | None) -> None:
    """Hold the whole file against the index's hash or, without one, against the one in its name."""
    expected, source = sha256, "the index"
    if expected is None:
        prefix = f"{plain.get('arch')}-{plain.get('signature')}-"
        expected, source = path.stem.removeprefix(prefix), "its name"
        if not re.fullmatch("[0-9a-f]{8}", expected):
            return  # renamed: the digest in the header is left to tell
    found = file_sha256(path)
    if found[: len(expected)] != expected:
        raise DataError(
            f"{path}: damaged or changed: its SHA-256 starts with {found[:8]}, not with "
            f"{expected[:8]!r} as {source} says; {_FETCH_AGAIN}"
        )


def _check_schema(plain: Mapping[str, Any], path: Path) -> None:
    schema = plain.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise DataError(f"{path}: its header has no valid schema number; {_FETCH_AGAIN}")
    if schema > SCHEMA:
        raise DataError(
            f"{path}: written in schema {schema} by a newer Stemgrid ({plain.get('version')}); "
            f"this one, {mss.__version__}, reads up to schema {SCHEMA}: upgrade stemgrid"
        )


def raw_bytes(tensor: Tensor) -> Tensor:
    """Return a contiguous tensor's bytes as a flat uint8 view."""
    return tensor.reshape(-1).view(torch.uint8)


def _content_sha256(header_text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 of the header and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header_text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(raw_bytes(tensor).numpy().data)
    return digest.hexdigest()
