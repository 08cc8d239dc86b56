"""Fetching a known model's files from a server on this machine."""

import contextlib
import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import DataError
from mss.release.importers.download import DownloadError, fetch
from mss.release.importers.importing import ImportOptions, import_source
from mss.release.importers.known import DEMUCS, MSST, Known, KnownFile
from mss.release.repo import Repo

CONTENT = b"weights" * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves a folder's files; "short-..." says that it is longer than what comes."""

    files: Path
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        file = self.files / self.path.rpartition("/")[2]
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        self.send_response(200)
        extra = 10 if file.name.startswith("short-") else 0
        self.send_header("Content-Length", str(len(content) + extra))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class Served(Handler):
    """The one class whose attributes a test sets."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The url of a server of `tmp_path / "served"`."""
    Served.files = tmp_path / "served"
    Served.files.mkdir()
    Served.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_fetches_once(server: str, tmp_path: Path) -> None:
    (Served.files / "model.ckpt").write_bytes(CONTENT)
    file = KnownFile(f"{server}/a/model.ckpt", SHA256)
    path = fetch(file, tmp_path / "cache")
    assert (path.name, path.read_bytes()) == ("model.ckpt", CONTENT)
    assert fetch(file, tmp_path / "cache") == path
    assert Served.asked == ["/a/model.ckpt"]


@pytest.mark.parametrize(
    ("name", "sha256", "error", "message"),
    [
        ("model.ckpt", "0123abcd", DataError, r"starts with \w{8}, not with 0123abcd as its publ"),
        ("short-model.ckpt", None, DownloadError, "only 35000 of 35010 bytes came"),
        ("missing.ckpt", None, DownloadError, "Not Found"),
    ],
)
def test_nothing_half_fetched(
    server: str, tmp_path: Path, name: str, sha256: str | None, error: type, message: str
) -> None:
    if name != "missing.ckpt":
        (Served.files / name).write_bytes(CONTENT)
    with pytest.raises(error, match=message):
        fetch(KnownFile(f"{server}/{name}", sha256), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_changed_file_in_the_cache_is_told(server: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "model.ckpt").write_bytes(b"other")
    with pytest.raises(DataError, match="remove it and fetch"):
        fetch(KnownFile(f"{server}/model.ckpt", SHA256), tmp_path / "cache")
    assert Served.asked == []


def test_web_page_in_place_of_a_file(server: str, tmp_path: Path) -> None:
    served, cached = Served.files / "model.ckpt", tmp_path / "cache" / "model.ckpt"
    served.write_bytes(b"\n<!DOCTYPE html><html>log in</html>")
    for sha256 in (None, SHA256):
        with pytest.raises(DownloadError, match="a web page came instead of the file"):
            fetch(KnownFile(f"{server}/model.ckpt", sha256), cached.parent)
        assert list(cached.parent.iterdir()) == []
    cached.write_bytes(served.read_bytes())  # as an earlier version kept it
    served.write_bytes(CONTENT)
    assert fetch(KnownFile(f"{server}/model.ckpt"), cached.parent).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "error", [ssl.SSLError("bad record"), OSError("gone"), http.client.IncompleteRead(b"")]
)
def test_network_that_breaks_off(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (Served.files / "model.ckpt").write_bytes(CONTENT)

    def read(self: http.client.HTTPResponse, amount: int | None = None) -> bytes:
        raise error

    monkeypatch.setattr(http.client.HTTPResponse, "read", read)
    with pytest.raises(DownloadError, match=r"bad record|gone|IncompleteRead"):
        fetch(KnownFile(f"{server}/model.ckpt"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_full_disk_is_no_fault_of_the_network(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Served.files / "model.ckpt").write_bytes(CONTENT)
    monkeypatch.setattr("mss.release.importers.download.open", _full, raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(KnownFile(f"{server}/model.ckpt"), tmp_path / "cache")
    assert not isinstance(caught.value, DataError)


def _full(path: Path, mode: str) -> None:
    raise OSError(28, "No space left on device")


def test_bad_download_without_a_checksum_is_not_kept(
    server: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(KnownFile(f"{server}/model.{ending}") for ending in ("ckpt", "yaml"))
    known = Known("public", "hdemucs", ("drums",), MSST, files, "https://example.org")
    monkeypatch.setattr("mss.release.importers.importing.known_models", lambda: {"public": known})
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (Served.files / "model.ckpt").write_bytes(CONTENT)
    (Served.files / "model.yaml").write_text("model: hdemucs")
    for _ in range(2):
        with pytest.raises(DataError, match=r"model\.ckpt: damaged.* \(the download is removed\)"):
            import_source("public", root)
    assert Served.asked == ["/model.ckpt", "/model.yaml", "/model.ckpt"]
    for name in ("model.ckpt", "model.yaml"):  # what the user brought is the user's
        (tmp_path / name).write_bytes((Served.files / name).read_bytes())
    with pytest.raises(DataError, match="damaged"):
        import_source("public", root, ImportOptions(files=tmp_path))
    assert (tmp_path / "model.ckpt").exists()


def known_at(url: str, path: Path) -> Known:
    return Known(
        name="public",
        arch="hdemucs",
        sources=("drums", "vocals"),
        family=DEMUCS,
        files=(KnownFile(f"{url}/{path.name}", path.stem.partition("-")[2]),),
        page="https://example.org",
        models=(path.stem.partition("-")[0],),
    )


def test_known_name_is_downloaded_and_imported(
    server: str,
    tmp_path: Path,
    root: Path,
    save_demucs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = known_at(server, save_demucs(folder=Served.files))
    monkeypatch.setattr("mss.release.importers.importing.known_models", lambda: {known.name: known})
    monkeypatch.setattr("mss.release.importers.known.known_models", lambda: {known.name: known})
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    first, second = (import_source("public", root) for _ in range(2))
    assert first == second
    assert len(Served.asked) == 1
    (header,) = Repo(root).load("public").headers
    assert header.provenance["origin"] == known.files[0].url


def test_no_network(
    closed_port: int,
    tmp_path: Path,
    root: Path,
    save_demucs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = save_demucs()
    known = known_at(f"http://127.0.0.1:{closed_port}", path)
    monkeypatch.setattr("mss.release.importers.importing.known_models", lambda: {known.name: known})
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        import_source("public", root)
    text = str(caught.value)
    assert text.startswith("public: can't be downloaded (")
    assert text.endswith(
        f"bring {known.files[0].url} into a folder, then: python -m tools.import_checkpoint public "
        "--files FOLDER"
    )
    assert not root.exists()
