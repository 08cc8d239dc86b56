"""Fetching a known model's files from a server on this machine."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import DataError
from mss.release.importers.download import DownloadError, fetch
from mss.release.importers.importing import import_source
from mss.release.importers.known import DEMUCS, Known, KnownFile
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
