"""The index: read once, remembered by content, never in the user's data."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import mss.data.index as index
from mss.core.normalise import Normalisation
from mss.data.folder import FolderDataset
from mss.data.tracks import TrackSet


@pytest.fixture
def root(tmp_path: Path, write_song) -> Path:
    for seed, name in enumerate(("train/a", "train/b", "valid/c")):
        write_song(tmp_path / "set" / name, 500, seed)
    return tmp_path / "set"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were hashed; files just written count as old."""
    monkeypatch.setattr(index, "RECENT_SECONDS", -60.0)
    seen: list[str] = []
    original = index.file_sha256

    def counted(path: Path) -> str:
        seen.append(f"{path.parent.name}/{path.name}")
        return original(path)

    monkeypatch.setattr(index, "file_sha256", counted)
    return seen


def load(root: Path) -> TrackSet:
    return FolderDataset(FolderDataset.Config(root=str(root))).split("train")


def test_unchanged_files_are_read_once(root: Path, cache_folder: Path, reads: list[str]) -> None:
    first = load(root)
    assert len(reads) == 10
    reads.clear()
    again = load(root)
    assert reads == []
    assert again == first
    assert again.fingerprint == first.fingerprint


def test_a_changed_file_is_read_again(root: Path, cache_folder: Path, reads: list[str]) -> None:
    load(root)
    reads.clear()
    path = root / "train" / "a" / "bass.wav"
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    # an editor that puts the modification time back can't put the change time back
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    load(root)
    assert "a/bass.wav" in reads
    assert not any(read.startswith("b/") for read in reads)


def test_recent_files_are_not_trusted(
    root: Path, cache_folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within one tick of the clock would be missed."""
    monkeypatch.setattr(index, "RECENT_SECONDS", 3600.0)
    load(root)
    reads.clear()
    load(root)
    assert len(reads) == 10


def test_a_copy_shares_the_statistics(
    root: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = load(root)

    class Refuse:
        def __init__(self) -> None:
            raise AssertionError("the mixture was decoded again")

    monkeypatch.setattr(index, "MonoStatistics", Refuse)
    copy = load(shutil.copytree(root, tmp_path / "copy"))
    assert [t.file_statistics for t in copy.tracks] == [t.file_statistics for t in first.tracks]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"value": 1}', b"\xff\xfe"])
def test_damaged_entries_are_made_again(
    root: Path, cache_folder: Path, reads: list[str], damage: bytes
) -> None:
    first = load(root)
    entries = list((cache_folder / "index").rglob("*.json"))
    assert len(entries) == 4  # files and mixture statistics of two songs
    for entry in entries:
        entry.write_bytes(damage)
    reads.clear()
    assert load(root) == first
    assert len(reads) == 10
    reads.clear()
    load(root)
    assert reads == []


def test_a_flipped_digit_is_seen(root: Path, cache_folder: Path, reads: list[str]) -> None:
    first = load(root)
    for entry in (cache_folder / "index" / "seen").rglob("*.json"):
        entry.write_text(entry.read_text().replace('"frames": 500', '"frames": 400'))
    assert load(root) == first


def test_nothing_is_written_beside_the_data(root: Path, cache_folder: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    load(root)
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before


def test_a_cache_that_cannot_be_written_costs_time_only(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("STEMGRID_CACHE", str(blocked / "cache"))
    assert len(load(root)) == 2
    assert "can't be kept" in caplog.text


def test_silence_is_not_divided_by_zero(root: Path, cache_folder: Path) -> None:
    soundfile.write(root / "train" / "a" / "mixture.wav", np.zeros((500, 2)), 44100)
    track = load(root).tracks[0]
    assert track.file_statistics == Normalisation()
    assert torch.isfinite(track.normalisation("file_mono_std").apply(torch.zeros(2, 3))).all()
