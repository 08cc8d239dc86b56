"""Files, folders and patterns become songs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mss.api.inputs import find_songs


@pytest.fixture
def music(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    songs = "b.mp3", "A.FLAC", "x/1.wav", "x/y/2.ogg", "out/4.wav"
    for name in (*songs, ".h.wav", ".t/3.wav", "n.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_gives_its_audio_files_in_a_stable_order(music: Path) -> None:
    found = find_songs([music], music / "out")
    assert [(str(s.path.relative_to(music)), s.folder) for s in found.songs] == [
        ("A.FLAC", ""),
        ("b.mp3", ""),
        ("x/1.wav", "x"),
        ("x/y/2.ogg", "x/y"),
    ]
    assert found.faults == {}


def test_a_file_that_is_named_may_be_anything(music: Path) -> None:
    named = [music / "n.txt", music / ".h.wav", music / "nowhere.wav"]
    assert [song.path for song in find_songs(named).songs] == named


def test_a_file_counts_once_however_it_is_named(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(music)
    found = find_songs(["x/1.wav", music / "x" / "1.wav", "x", "x/*.wav"])
    assert [song.path.name for song in found.songs] == ["1.wav", "2.ogg"]


def test_patterns(music: Path) -> None:
    found = find_songs([f"{music}/**/*.[wo]*"])
    assert [song.path.name for song in found.songs] == ["4.wav", "1.wav", "2.ogg"]
    assert find_songs([f"{music}/*.aiff"]).faults[music / "*.aiff"].endswith("the pattern.")


def test_a_folder_without_songs(music: Path) -> None:
    found = find_songs([music / "out"], music / "out")
    assert found.total == 1
    (music / "out" / "4.wav").unlink()
    assert "holds no audio files" in find_songs([music / "out"]).faults[music / "out"]


def test_links_that_lead_nowhere_are_left_to_the_reader(music: Path) -> None:
    (music / "x" / "gone.wav").symlink_to("nothing.wav")
    (music / "x" / "gone too.wav").symlink_to("nothing.wav")
    (music / "x" / "loop.wav").symlink_to("loop.wav")
    (music / "x" / "up").symlink_to(music, target_is_directory=True)
    names = [song.path.name for song in find_songs([music / "x"]).songs]
    assert names == ["1.wav", "gone too.wav", "gone.wav", "loop.wav", "2.ogg"]


def test_a_folder_that_can_not_be_read(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root reads every folder, so the system's answer is made up."""
    scandir = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert "x: can't be read (Permission denied)" in find_songs([music]).faults[music]


def test_a_name_longer_than_the_system_takes(music: Path) -> None:
    assert len(find_songs([music / ("x" * 300 + ".wav")]).songs) == 1
