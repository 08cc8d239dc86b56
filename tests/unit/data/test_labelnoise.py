"""dset=labelnoise: which songs train, what of them, and what identifies that."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.core.registry import make_config, resolve
from mss.data.folder import FolderDataset
from mss.data.folds import Folds
from mss.data.labelnoise import LabelNoiseDataset
from mss.data.noise_manifest import SongLabel, write_manifest
from mss.data.segments import SegmentDataset
from mss.data.tracks import TrackSet

pytestmark = pytest.mark.usefixtures("cache_folder")

STEMS = ("drums", "bass", "other", "vocals")
CLEAN = SongLabel(True)


@pytest.fixture
def root(tmp_path: Path, write_song: Any) -> Path:
    """Six training songs, one to validate, one to test."""
    songs = [f"train/{name}" for name in "abcdef"] + ["valid/v", "test/t"]
    for seed, name in enumerate(songs):
        write_song(tmp_path / "set" / name, 60 + seed, seed)
    return tmp_path / "set"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """b has a wrong bass, d swapped stems, e is wrong altogether."""
    path = tmp_path / "labels.csv"
    labels = dict.fromkeys("acf", CLEAN) | {
        "b": SongLabel(False, "bass: bleed of drums"),
        "d": SongLabel(False, "vocals: swapped; other: swapped"),
        "e": SongLabel(False, "unknown"),
    }
    write_manifest(path, labels)
    return path


def dataset(root: Path, **keys: Any) -> LabelNoiseDataset:
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    return LabelNoiseDataset(
        make_config(LabelNoiseDataset.Config, {"root": str(root), **keys}, "dset")
    )


def names(tracks: TrackSet) -> str:
    return "".join(track.name for track in tracks.tracks)


def test_it_is_registered() -> None:
    assert resolve("dataset", "labelnoise") is LabelNoiseDataset


def test_without_a_manifest_it_is_a_folder(root: Path) -> None:
    folder = FolderDataset(FolderDataset.Config(root=str(root)))
    for split in ("train", "valid", "test"):
        assert dataset(root).split(split).fingerprint == folder.split(split).fingerprint
    assert dataset(root).stand_ins(dataset(root).split("train")) is None


def test_clean_songs_train(root: Path, manifest: Path) -> None:
    found = dataset(root, manifest=manifest)
    assert names(found.split("train")) == "acf"
    assert (names(found.split("valid")), names(found.split("test"))) == ("v", "t")
    assert found.stand_ins(found.split("train")) is None
    assert names(found.every_song()) == "abcdef"


def test_per_stem_songs_train_by_what_is_right_of_them(root: Path, manifest: Path) -> None:
    found = dataset(root, manifest=manifest, per_stem=True)
    tracks = found.split("train")
    assert names(tracks) == "abcdf"  # of e nothing is known
    segments = SegmentDataset(tracks, 20, 200, seed=0, stand_ins=found.stand_ins(tracks))
    whole = {track.name: track.read_stems() for track in tracks.tracks}
    wrong = {"b": {"bass"}, "d": {"other", "vocals"}}
    donors: dict[str, set[str]] = {stem: set() for stem in STEMS}
    for index in range(200):
        place, start = segments.locate(0, index)
        track, item = tracks.tracks[place], segments[0, index]
        assert item.trust.tolist() == [1, 1, 1, 1]
        assert torch.equal(item.stems, segments[0, index].stems)
        for row, stem in enumerate(STEMS):
            if stem not in wrong.get(track.name, ()):
                own = whole[track.name][row, :, start : start + 20]
                assert torch.equal(item.stems[row], own)
            else:
                donors[stem] |= {
                    name for name, stems in whole.items() if holds(stems[row], item.stems[row])
                }
    assert donors == {
        "drums": set(),
        "bass": set("acdf"),
        "other": set("abcf"),
        "vocals": set("abcf"),
    }


def holds(song: Tensor, excerpt: Tensor) -> bool:
    """Whether an excerpt [C, T] is of a song [C, N]."""
    windows = song.unfold(-1, excerpt.shape[-1], 1)  # [C, N - T + 1, T]
    return bool((windows == excerpt[:, None]).all(dim=(0, 2)).any())


def test_a_stem_in_place_of_another_is_normalised_by_its_own_song(
    root: Path, manifest: Path
) -> None:
    found = dataset(root, manifest=manifest, per_stem=True)
    tracks = found.split("train")
    plain, scaled = (
        SegmentDataset(tracks, 20, 40, 0, normalise, stand_ins=found.stand_ins(tracks))
        for normalise in ("none", "file_mono_std")
    )
    wanted = {
        track.name: track.normalisation("file_mono_std").apply(track.read("bass"))
        for track in tracks.tracks
    }
    exchanged = [i for i in range(40) if tracks.tracks[plain.locate(0, i)[0]].name == "b"]
    assert exchanged
    for index in exchanged:
        bass = scaled[0, index].stems[1]
        assert any(holds(song, bass) for name, song in wanted.items() if name != "b")


def test_shorter_songs_stand_in_with_silence_behind_them(root: Path, manifest: Path) -> None:
    found = dataset(root, manifest=manifest, per_stem=True)
    tracks = found.split("train")
    segments = SegmentDataset(tracks, 64, 40, seed=0, stand_ins=found.stand_ins(tracks))
    for index in range(40):
        assert segments[0, index].stems.shape == (4, 2, 64)


def test_a_source_of_which_all_stems_are_wrong(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    write_manifest(path, {name: SongLabel(False, "bass: bleed of drums") for name in "abcdef"})
    found = dataset(root, manifest=path, per_stem=True)
    with pytest.raises(DataError, match=r"dset.manifest: of bass no song has a stem that is right"):
        found.stand_ins(found.split("train"))


def test_what_is_chosen_identifies_the_data(root: Path, manifest: Path, tmp_path: Path) -> None:
    """A run is locked to it, though the manifest's path is no part of its signature."""
    prints = {
        dataset(root, **keys).split("train").fingerprint
        for keys in (
            {},
            {"manifest": manifest},
            {"manifest": manifest, "per_stem": True},
            {"folds": 3, "fold": 0},
            {"folds": 3, "fold": 1},
        )
    }
    assert len(prints) == 5
    other = tmp_path / "other.csv"
    other.write_text(manifest.read_text().replace("bass: bleed", "drums: bleed"))
    same = tmp_path / "elsewhere" / "same.csv"
    same.parent.mkdir()
    same.write_text(manifest.read_text())

    def of(path: Path, per_stem: bool) -> str:
        return dataset(root, manifest=path, per_stem=per_stem).split("train").fingerprint

    assert of(same, True) == of(manifest, True)
    assert of(other, True) != of(manifest, True)  # the same songs, of which other stems count
    assert of(other, False) == of(manifest, False)  # what is not looked at changes nothing


def test_the_provenance_tells_what_is_not_learned(root: Path, manifest: Path) -> None:
    tracks = dataset(root, manifest=manifest, per_stem=True).split("train")
    told = tracks.manifest()
    assert told["unlabelled"] == {"b": ["bass"], "d": ["other", "vocals"]}
    assert (told["fingerprint"], set(told["tracks"])) == (tracks.fingerprint, set("abcdf"))


def test_each_fold_leaves_out_its_own_songs(root: Path) -> None:
    folds = Folds(3, seed=1)
    left_out = []
    for fold in range(3):
        trained = names(dataset(root, folds=3, fold=fold, fold_seed=1).split("train"))
        missing = set("abcdef") - set(trained)
        assert missing == {name for name in "abcdef" if folds.of(name) == fold}
        left_out += sorted(missing)
    assert sorted(left_out) == list("abcdef")  # each by one model alone


def test_a_fold_depends_on_the_name_and_the_seed_alone() -> None:
    songs = [f"song {index}" for index in range(3000)]
    of = [Folds(3, seed=5).of(song) for song in songs]
    assert of == [Folds(3, seed=5).of(song) for song in songs]
    assert of != [Folds(3, seed=6).of(song) for song in songs]
    for fold in range(3):  # 4 standard deviations of a fair draw
        assert abs(of.count(fold) - 1000) < 4 * (3000 * 2 / 9) ** 0.5


def test_validation_songs_are_clean_and_those_of_every_fold(
    tmp_path: Path, write_song: Any, manifest: Path
) -> None:
    for seed, name in enumerate("abcdef"):
        write_song(tmp_path / "flat" / name, 60, seed)
    plain = dataset(tmp_path / "flat", manifest=manifest, valid_tracks=2)
    valid = names(plain.split("valid"))
    assert set(valid) < set("acf") and len(valid) == 2
    assert set(names(plain.split("train"))) == set("acf") - set(valid)
    for fold in range(2):
        found = dataset(
            tmp_path / "flat", manifest=manifest, per_stem=True, valid_tracks=2, folds=2, fold=fold
        )
        assert names(found.split("valid")) == valid
        assert not set(names(found.split("train"))) & set(valid)
    assert names(plain.every_song()) == "abcdef"


def test_nothing_left_to_train_on(root: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "none.csv", dict.fromkeys("abcdef", SongLabel(False)))
    for per_stem in (False, True):
        with pytest.raises(DataError, match=r"none\.csv: leaves none of 6 training songs"):
            dataset(root, manifest=tmp_path / "none.csv", per_stem=per_stem).split("train")


def test_a_manifest_of_other_songs(root: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", dict.fromkeys("abcdefg", CLEAN))
    with pytest.raises(DataError, match=r"m\.csv: ID 'g' is none of the 6 training songs"):
        dataset(root, manifest=tmp_path / "m.csv").split("train")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"folds": 1}, r"dset\.folds: 1; give 2 or more"),
        ({"folds": -1}, r"dset\.folds: -1"),
        ({"folds": 3, "fold": 3}, r"dset\.fold: 3 is none of 3 folds"),
        ({"fold": 1}, r"dset\.fold: 1 is none of 0 folds"),
        ({"per_stem": True}, r"dset\.per_stem: .*give dset\.manifest"),
    ],
)
def test_keys_that_make_no_sense(root: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataset(root, **keys)
