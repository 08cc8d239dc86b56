"""Folders of songs: what is found, what is refused, and what identifies the data."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mss.core.errors import ConfigError, DataError
from mss.core.normalise import file_normalisation
from mss.core.registry import make_config, resolve
from mss.core.types import Track
from mss.data.folder import FolderDataset
from mss.data.splits import hold_out
from mss.data.tracks import IndexedTrack

pytestmark = pytest.mark.usefixtures("cache_folder")


def dataset(root: Path, **keys: object) -> FolderDataset:
    values = {"root": str(root), **keys}
    return FolderDataset(make_config(FolderDataset.Config, values, "dset"))


@pytest.fixture
def root(tmp_path: Path, write_song) -> Path:
    """Four training songs, one to validate, one to test."""
    for seed, name in enumerate(("train/a", "train/b", "train/c", "train/d", "valid/e", "test/f")):
        write_song(tmp_path / "set" / name, 400 + seed, seed)
    return tmp_path / "set"


def names(tracks) -> list[str]:
    return [track.name for track in tracks.tracks]


def test_finds_songs_and_stems(root: Path) -> None:
    found = {split: dataset(root).split(split) for split in ("train", "valid", "test")}
    assert {split: names(tracks) for split, tracks in found.items()} == {
        "train": ["a", "b", "c", "d"],
        "valid": ["e"],
        "test": ["f"],
    }
    train = found["train"]
    assert train.stems == ("drums", "bass", "other", "vocals")
    assert (train.samplerate, train.channels) == (44100, 2)
    assert [track.length for track in train.tracks] == [400, 401, 402, 403]


def test_is_registered() -> None:
    assert resolve("dataset", "folder") is FolderDataset


def test_reads_any_span_exactly(tmp_path: Path, write_song) -> None:
    written = write_song(tmp_path / "train" / "a", 1000, 1, suffix="flac")
    write_song(tmp_path / "train" / "b", 1000, 2, suffix="flac")
    write_song(tmp_path / "valid" / "v", 1000, 3)
    track: Track = dataset(tmp_path).split("train").tracks[0]
    for stem, start, frames in [("bass", 0, None), ("vocals", 137, 300), ("mixture", 999, 1)]:
        stop = None if frames is None else start + frames
        expected = torch.from_numpy(written[stem][start:stop].T / 32768).float()
        assert torch.equal(track.read(stem, start, frames), expected)
    assert track.read("bass", 1000).shape == (2, 0)


@pytest.mark.parametrize(
    ("stem", "start", "frames"), [("drums", -1, 5), ("drums", 398, 3), ("kazoo", 0, 1)]
)
def test_refuses_what_a_track_does_not_have(root: Path, stem: str, start: int, frames: int) -> None:
    track = dataset(root).split("train").tracks[0]
    with pytest.raises(ValueError, match=stem if stem == "kazoo" else "not within"):
        track.read(stem, start, frames)


def test_mixture_is_the_sum_where_there_is_no_file(tmp_path: Path, write_song) -> None:
    written = write_song(tmp_path / "a", 500, 1, mixture=False)
    write_song(tmp_path / "b", 500, 2, mixture=False)
    tracks = dataset(tmp_path).split("train").tracks + dataset(tmp_path).split("valid").tracks
    track = next(track for track in tracks if track.name == "a")
    assert not track.has_mixture
    total = sum(samples.astype(np.int64) for samples in written.values())
    assert torch.equal(track.read("mixture"), torch.from_numpy(total.T / 32768).float())


def test_normalisation_is_that_of_the_whole_mixture(root: Path) -> None:
    track = dataset(root).split("train").tracks[2]
    expected = file_normalisation(track.read("mixture"), "file_mono_std")
    assert track.normalisation("file_mono_std") == expected
    mono = soundfile.read(root / "train" / "c" / "mixture.wav")[0].mean(axis=1)
    assert expected.mean == pytest.approx(mono.mean(), rel=1e-9)
    assert expected.std == pytest.approx(mono.std(ddof=1), rel=1e-9)
    assert track.normalisation("none").apply(torch.ones(1)) == 1


def test_own_stems_mono_files_and_a_flat_folder(tmp_path: Path, write_song) -> None:
    for seed, name in enumerate(("x", "y")):
        write_song(
            tmp_path / name, 300, seed, ("Gtr L", "kick"), mixture=False, channels=1, suffix="WAV"
        )
    train = dataset(tmp_path).split("train")
    assert train.stems == ("Gtr L", "kick")
    audio = train.tracks[0].read("kick")
    assert audio.shape == (2, 300)
    assert torch.equal(audio[0], audio[1])
    assert dataset(tmp_path, channels=None).split("train").channels == 1


def test_passes_over_what_is_no_song(root: Path, write_song) -> None:
    before = dataset(root).split("train").fingerprint
    write_song(root / "train" / ".hidden", 100, 9)
    (root / "train" / "notes").mkdir()
    (root / "train" / "readme.txt").write_text("x")
    (root / "train" / "a" / ".drums.wav").write_bytes(b"junk")
    (root / "train" / "a" / "cover.jpg").write_bytes(b"junk")
    (root / "manifest.json").write_text("{}")
    assert dataset(root).split("train").fingerprint == before


def test_chosen_stems_in_the_order_given(root: Path) -> None:
    (root / "train" / "a" / "click.wav").write_bytes(b"not audio, not looked at")
    found = dataset(root, stems=["vocals", "drums"]).split("train")
    assert found.stems == ("vocals", "drums")
    drums = soundfile.read(root / "train" / "a" / "drums.wav", dtype="float32")[0]
    assert torch.equal(found.tracks[0].read_stems()[1], torch.from_numpy(drums.T))


# -- validation ----------------------------------------------------------------------------------


def test_holds_out_by_content(root: Path, tmp_path: Path, caplog) -> None:
    shutil.rmtree(root / "valid")
    with caplog.at_level(logging.INFO):
        valid = dataset(root, valid_tracks=2).split("valid")
    train = dataset(root, valid_tracks=2).split("train")
    assert len(valid) == 2
    assert sorted(names(valid) + names(train)) == ["a", "b", "c", "d"]
    assert all(name in caplog.text for name in names(valid))
    # renaming every song does not change which recordings validate
    copy = tmp_path / "copy"
    for old, new in zip("abcd", "qxpz", strict=True):
        shutil.copytree(root / "train" / old, copy / "train" / new)
    renamed = {
        track.facts["drums"].sha256 for track in dataset(copy, valid_tracks=2).split("valid").tracks
    }
    assert renamed == {track.facts["drums"].sha256 for track in valid.tracks}


def test_default_share_and_stability_of_the_choice() -> None:
    songs = {f"song {number}": [f"hash {number}"] for number in range(31)}
    chosen = hold_out(songs, None)
    assert len(chosen) == 4  # one in ten, rounded up
    more = hold_out({**songs, "another": ["hash x"]}, None)
    assert len(chosen & more) >= 3


def test_hold_out_needs_two_songs(tmp_path: Path, write_song) -> None:
    write_song(tmp_path / "train" / "only", 300, 0)
    with pytest.raises(DataError, match=r"1 training track and no valid/ folder"):
        dataset(tmp_path).split("train")


@pytest.mark.parametrize("count", [0, 4])
def test_hold_out_leaves_something_on_both_sides(root: Path, count: int) -> None:
    shutil.rmtree(root / "valid")
    with pytest.raises(ConfigError, match=r"dset\.valid_tracks"):
        dataset(root, valid_tracks=count).split("train")


# -- fingerprints --------------------------------------------------------------------------------


def test_fingerprint_is_of_content_not_path(root: Path, tmp_path: Path) -> None:
    here = dataset(root).split("train")
    there = dataset(shutil.copytree(root, tmp_path / "elsewhere" / "other name")).split("train")
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint != dataset(root).split("valid").fingerprint
    assert here.manifest()["tracks"]["a"]["drums"]["bytes"] == 44 + 4 * 400


def test_fingerprint_sees_one_bit(root: Path) -> None:
    before = dataset(root).split("train").fingerprint
    path = root / "train" / "b" / "other.wav"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert dataset(root).split("train").fingerprint != before


def test_fingerprint_sees_a_renamed_song(root: Path) -> None:
    before = dataset(root).split("train").fingerprint
    (root / "train" / "a").rename(root / "train" / "z")
    assert dataset(root).split("train").fingerprint != before


# -- refusals ------------------------------------------------------------------------------------


def test_root_must_be_given_and_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dset\.root: not set"):
        FolderDataset(FolderDataset.Config()).split("train")
    with pytest.raises(DataError, match=r"missing: there is no such folder"):
        dataset(tmp_path / "missing").split("train")


def test_zero_tracks_is_an_error_that_guesses_what_is_meant(tmp_path: Path, root: Path) -> None:
    empty = tmp_path / "x" / "empty"
    (empty / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"0 tracks in .*empty"):
        dataset(empty).split("train")
    with pytest.raises(DataError, match=r"0 tracks in .*Is .*set meant\?"):
        dataset(root.parent).split("train")
    with pytest.raises(DataError, match=r"bass\.wav lies directly in it"):
        dataset(root / "train" / "a").split("train")


def test_missing_splits(root: Path) -> None:
    shutil.rmtree(root / "test")
    assert not dataset(root).has_split("test")
    with pytest.raises(DataError, match=r"no test/ folder\. Put"):
        dataset(root).split("test")
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="no train/ folder"):
        dataset(root).split("train")


def test_missing_stem_names_track_and_file(root: Path) -> None:
    (root / "train" / "c" / "bass.wav").rename(root / "train" / "c" / "bass.mp3")
    with pytest.raises(
        DataError, match=r"track 'c': the stem 'bass' is missing.*c/bass\.wav.*bass\.mp3"
    ):
        dataset(root).split("train")


def test_odd_stem_is_named(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 401, 7, ("organ",), mixture=False)
    with pytest.raises(DataError, match=r"b/organ\.wav: only 1 of 4 tracks.*dset\.stems"):
        dataset(root).split("train")


def test_doubled_stem(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 401, 7, ("drums",), mixture=False, suffix="flac")
    with pytest.raises(DataError, match=r"b/drums\.wav: drums\.flac is the same stem"):
        dataset(root).split("train")


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (["vocal"], "no stem 'vocal'|Did you mean 'vocals'"),
        (["drums", "drums"], "stands twice"),
        (["mixture"], "is the mixture"),
    ],
)
def test_stem_names_that_cannot_be_meant(root: Path, stems: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataset(root, stems=stems).split("train")


def test_other_length(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 399, 7, ("bass",), mixture=False)
    with pytest.raises(DataError, match=r"b/bass\.wav: has 399 samples.*401"):
        dataset(root).split("train")


def test_other_samplerate(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 401, 7, samplerate=48000)
    with pytest.raises(DataError, match=r"has 48000 Hz, not 44100 Hz.*dset\.samplerate=48000"):
        dataset(root).split("train")
    with pytest.raises(DataError, match="all files of a set need one rate"):
        dataset(root, samplerate=None).split("train")


def test_other_channels(root: Path, write_song) -> None:
    write_song(root / "train" / "b", 401, 7, channels=1)
    assert dataset(root).split("train").tracks[1].read("drums").shape == (2, 401)
    with pytest.raises(DataError, match="has 1 channels"):
        dataset(root, channels=None).split("train")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_truncated_file(tmp_path: Path, write_song, suffix: str) -> None:
    for seed, name in enumerate("ab"):
        write_song(tmp_path / "train" / name, 20000, seed, suffix=suffix)
    path = tmp_path / "train" / "b" / f"vocals.{suffix}"
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(DataError, match=f"vocals.{suffix}.*truncated"):
        dataset(tmp_path).split("train")


def test_empty_file_and_no_audio(root: Path) -> None:
    (root / "train" / "a" / "bass.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"a/bass\.wav.*empty"):
        dataset(root).split("train")
    (root / "train" / "a" / "bass.wav").write_text("these are not samples at all")
    with pytest.raises(DataError, match=r"a/bass\.wav"):
        dataset(root).split("train")


def test_mixture_that_is_not_finite(root: Path) -> None:
    samples = np.zeros((400, 2), np.float32)
    samples[7] = np.nan
    soundfile.write(root / "train" / "a" / "mixture.wav", samples, 44100, subtype="FLOAT")
    with pytest.raises(DataError, match="track 'a': its mixture holds NaN"):
        dataset(root).split("train")


@pytest.mark.shared_data
def test_real_songs(shared_data: Path) -> None:
    """Three songs to train on and no valid/ folder: one is held out, whichever way it is asked."""
    data = dataset(shared_data)
    train, valid, test = (data.split(split) for split in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (2, 1, 1)
    assert not set(names(train)) & set(names(valid))
    track: IndexedTrack = test.tracks[0]
    mixture = track.read("mixture", 1_000_000, 44100)
    # the mixture is the exact integer sum, and so is the float32 sum of 16-bit values
    assert torch.equal(mixture, track.read_stems(1_000_000, 44100).sum(dim=0))
    assert track.file_statistics.std > 0.01
    assert not torch.any(track.read("bass"))
