"""Fetching a public file: with a progress bar, verified, and there whole or not at all."""

from __future__ import annotations

import contextlib
import http.client
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

import mss
from mss.core.errors import DataError
from mss.core.files import atomic_path, file_sha256
from mss.release.importers.known import KnownFile

_TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 18


class DownloadError(DataError):
    """A file can't be had from where it lies: the reason alone, for a longer sentence."""


def fetch(file: KnownFile, folder: Path) -> Path:
    """Return a public file in `folder`, downloaded unless it lies there already.

    Raises:
        DownloadError: no network, or the server gives something else.
        DataError: its content is not what its publisher's checksum says.
    """
    target = folder / file.name
    if target.is_file() and (file.sha256 is not None or not _is_web_page(target)):
        check(target, file)
        return target
    with atomic_path(target) as temporary:
        _stream(file, temporary)
        if _is_web_page(temporary):
            raise DownloadError("a web page came instead of the file; is there a log-in before it?")
        check(temporary, file)
    return target


def check(path: Path, file: KnownFile) -> None:
    """Hold a file against the published start of its SHA-256, where there is one.

    Raises:
        DataError: it is another file.
    """
    if file.sha256 is None:
        return
    found = file_sha256(path)
    if not found.startswith(file.sha256):
        shown = len(file.sha256[:16])
        raise DataError(
            f"{path.with_name(file.name)}: its SHA-256 starts with {found[:shown]}, not with "
            f"{file.sha256[:shown]} as its publisher says; remove it and fetch {file.url} again"
        )


def _stream(file: KnownFile, path: Path) -> None:
    """Write what a url gives to `path`, with a progress bar on a terminal."""
    agent = {"User-Agent": f"stemgrid/{mss.__version__}"}
    request = urllib.request.Request(file.url, headers=agent)
    with _network():
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    stated = response.headers.get("Content-Length")
    total = int(stated) if stated is not None and stated.isdecimal() else None
    with (
        response,
        open(path, "wb") as handle,
        tqdm(total=total, unit="B", unit_scale=True, desc=file.name[:40], disable=None) as bar,
    ):
        while block := _read(response):
            handle.write(block)
            bar.update(len(block))
        if total is not None and handle.tell() != total:
            raise DownloadError(f"only {handle.tell()} of {total} bytes came")


def _read(response: http.client.HTTPResponse) -> bytes:
    with _network():
        return response.read(_BLOCK)


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Tell the network's errors (URLError and ssl.SSLError are OSErrors) from a full disk's."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(str(reason) or type(error).__name__) from error


def _is_web_page(path: Path) -> bool:
    """Tell HTML by its start, which no weights and no yaml of a model have."""
    with open(path, "rb") as handle:
        return handle.read(256).lstrip().startswith(b"<")
