"""Decoded copies: equal to direct reads, made once, keyed by content."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import mss.data.decoded as decoded
from mss.core.errors import ConfigError, DataError
from mss.data.folder import FolderDataset
from mss.data.segments import SegmentDataset
from mss.data.tracks import TrackSet


@pytest.fixture
def root(tmp_path: Path, cache_folder: Path, write_song) -> Path:
    write_song(tmp_path / "set" / "train" / "a", 3000, 0, suffix="flac")
    write_song(tmp_path / "set" / "train" / "b", 2000, 1, mixture=False)
    write_song(tmp_path / "set" / "valid" / "c", 500, 2)
    write_song(tmp_path / "set" / "test" / "d", 500, 3)
    decoded._open_map.cache_clear()
    return tmp_path / "set"


def load(root: Path, cache: str, split: str = "train", **keys: object) -> TrackSet:
    return FolderDataset(FolderDataset.Config(root=str(root), cache=cache, **keys)).split(split)


def copies(cache_folder: Path) -> list[Path]:
    return sorted((cache_folder / "decoded").rglob("*.npy"))


@pytest.mark.parametrize(("kind", "width"), [("int16", 2), ("float32", 4)])
def test_equal_to_direct_reads(root: Path, cache_folder: Path, kind: str, width: int) -> None:
    direct, cached = load(root, "none"), load(root, kind)
    assert [np.load(path).dtype.itemsize for path in copies(cache_folder)] == [width, width]
    assert cached.fingerprint == direct.fingerprint
    for one, other in zip(direct.tracks, cached.tracks, strict=True):
        assert other.has_mixture == one.has_mixture
        for stem in (*one.stems, "mixture"):
            assert torch.equal(one.read(stem), other.read(stem))
            assert torch.equal(one.read(stem, 77, 123), other.read(stem, 77, 123))
    excerpts = [SegmentDataset(tracks, 400, 6, 0, "file_mono_std") for tracks in (direct, cached)]
    for index in range(6):
        assert torch.equal(*(dataset[(0, index)].stems for dataset in excerpts))


def test_full_scale_survives(root: Path) -> None:
    extremes = np.array([[-32768, 32767], [0, -1], [1, -32767]], np.int16)
    for stem in ("drums", "bass", "other", "vocals", "mixture"):
        soundfile.write(root / "train" / "a" / f"{stem}.flac", extremes, 44100, subtype="PCM_16")
    expected = torch.from_numpy(extremes.T / 32768).float()
    assert torch.equal(load(root, "int16").tracks[0].read("bass"), expected)


def test_made_once_for_one_content(
    root: Path, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root, "int16")
    made = {path: path.stat().st_mtime_ns for path in copies(cache_folder)}
    assert len(made) == 2
    monkeypatch.setattr(decoded, "_decode", None)  # decoding again would fail
    load(shutil.copytree(root, tmp_path / "copy"), "int16")
    assert {path: path.stat().st_mtime_ns for path in copies(cache_folder)} == made


def test_other_content_other_copy(root: Path, cache_folder: Path, write_song) -> None:
    load(root, "int16")
    write_song(root / "train" / "b", 2000, 8, mixture=False)
    direct, cached = load(root, "none"), load(root, "int16")
    assert torch.equal(direct.tracks[1].read("drums"), cached.tracks[1].read("drums"))
    assert len(copies(cache_folder)) == 3


@pytest.mark.parametrize("keep", [0, 40, 1000])
def test_a_damaged_copy_is_made_again(root: Path, cache_folder: Path, keep: int) -> None:
    load(root, "int16")
    for path in copies(cache_folder):
        path.write_bytes(path.read_bytes()[:keep])
    direct, cached = load(root, "none"), load(root, "int16")
    assert torch.equal(direct.tracks[0].read("drums"), cached.tracks[0].read("drums"))


def test_a_failed_decoding_leaves_nothing(root: Path, cache_folder: Path) -> None:
    path = root / "train" / "a" / "vocals.flac"
    tracks = load(root, "none").tracks
    content = bytearray(path.read_bytes())
    content[2000:-2000] = bytes(len(content) - 4000)
    path.write_bytes(content)  # after it was indexed
    with pytest.raises(DataError, match=r"vocals\.flac"):
        decoded.decode_tracks(tracks[:1], "int16")
    assert [path for path in cache_folder.rglob("*") if path.suffix == ".npy"] == []


def test_int16_refuses_to_round(root: Path) -> None:
    samples = np.full((3000, 2), 0.1)
    soundfile.write(root / "train" / "a" / "bass.flac", samples, 44100, subtype="PCM_24")
    with pytest.raises(
        ConfigError, match=r"dset\.cache: int16 would round 'bass' of track 'a'.*PCM_24"
    ):
        load(root, "int16")
    direct, cached = load(root, "none"), load(root, "float32")
    assert torch.equal(direct.tracks[0].read("bass"), cached.tracks[0].read("bass"))


def test_test_songs_are_read_directly(root: Path, cache_folder: Path) -> None:
    load(root, "int16", "test")
    assert copies(cache_folder) == []


def test_refuses_to_fill_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: usage(free=10_000))
    with pytest.raises(DataError, match=r"needs 0\.0 GB.*\$STEMGRID_CACHE"):
        load(root, "int16")


def test_an_emptied_cache_is_told(root: Path, cache_folder: Path) -> None:
    tracks = load(root, "int16")
    shutil.rmtree(cache_folder)
    with pytest.raises(DataError, match="was the cache emptied"):
        tracks.tracks[0].read("drums")
