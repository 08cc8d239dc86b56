"""`dset=demo`: the generated folder as a data set."""

from pathlib import Path

import pytest

import mss.data.demo as demo
from mss.core.registry import build

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture
def made(tmp_path: Path, write_song, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A generator that writes noise in the right shape (the composer has tests of its own)."""
    calls: list[tuple[object, ...]] = []

    def ensure(root: Path | None, size: str, seed: int) -> Path:
        calls.append((root, size, seed))
        for number, name in enumerate(("train/s0", "train/s1", "valid/s2", "test/s3")):
            write_song(tmp_path / "made" / name, 200, number)
        return tmp_path / "made"

    monkeypatch.setattr(demo, "ensure_demo_dataset", ensure)
    return calls


def test_is_made_on_first_use_and_once(made: list[tuple[object, ...]], tmp_path: Path) -> None:
    values = {"name": "demo", "size": "tiny", "seed": 4, "root": str(tmp_path / "keep")}
    dataset = build("dataset", values, where="dset")
    assert made == []
    assert {split: len(dataset.split(split)) for split in ("train", "valid", "test")} == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert made == [(tmp_path / "keep", "tiny", 4)]
    assert dataset.has_split("test")
    train = dataset.split("train")
    assert (train.name, train.stems) == ("demo", ("drums", "bass", "other", "vocals"))
    assert all(track.has_mixture for track in train.tracks)


def test_lies_in_the_cache_folder_unless_told(made: list[tuple[object, ...]]) -> None:
    build("dataset", {"name": "demo"}, where="dset").split("valid")
    assert made == [(None, "demo", 0)]
