"""Songs that are added to a training are none of those that it is judged by."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import soundfile

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.data.folder import FolderDataset
from mss.distill.held_out import check_added
from mss.distill.items import ItemPlan, training_items
from mss.distill.pseudo import Label, PseudoLabelConfig, write_labels
from mss.distill.unlabelled import RemixItConfig

RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture
def data(tmp_path, cache_folder, write_song):
    """A data set of two songs to train on, one to validate and one to test."""
    root = tmp_path / "data"
    for seed, song in enumerate(("train/a", "train/b", "valid/v", "test/t")):
        write_song(root / song, 500, seed)
    return root


def check(data, config, read=("train", "valid", "test")):
    """What a run does that has read these splits."""
    dataset = FolderDataset(FolderDataset.Config(root=str(data)))
    sets = [dataset.split(split) for split in read]
    targets = TargetMap.make({}, sets[0].stems)
    plan = ItemPlan(100, 16, seed=3, batch_size=8, group=4)
    items = training_items(sets[0], targets, plan, config)
    check_added(items.added, items.origins, sets, dataset)


def unlabelled(root):
    return RemixItConfig(songs="found", root=str(root))


def test_songs_of_their_own_are_taken(data, recordings, caplog):
    check(data, unlabelled(recordings))
    check(data, None)
    assert "training songs too" not in caplog.text


@pytest.mark.parametrize("song", ["valid/v", "test/t"])
@pytest.mark.parametrize("read", [("train", "valid", "test"), ("train", "valid")])
def test_a_validation_or_test_song_is_refused(data, recordings, song, read):
    """Also one of a split that the run does not read: it will be scored with some day."""
    shutil.copy(data / song / "mixture.wav", recordings / "y" / "mixture.wav")
    split, name = song.split("/")
    message = rf"distill\.root: 'y' of found is '{name}' of the {split} split of folder"
    with pytest.raises(DataError, match=message):
        check(data, unlabelled(recordings), read)


def test_the_same_samples_in_another_encoding_are_the_same_song(data, recordings):
    samples, _ = soundfile.read(data / "test/t/mixture.wav", dtype="int16")
    (recordings / "y" / "mixture.wav").unlink()
    soundfile.write(recordings / "y" / "mixture.flac", samples, RATE, subtype="PCM_16")
    with pytest.raises(DataError, match="'y' of found is 't' of the test split"):
        check(data, unlabelled(recordings))


def test_a_song_beside_which_the_run_tests_on_its_training_songs_may_be_one(data, recordings):
    """test.split=train reads no held-out song."""
    shutil.copy(data / "train/a/mixture.wav", recordings / "y" / "mixture.wav")
    check(data, unlabelled(recordings), ("train", "valid", "train"))


def test_a_training_song_is_told_of(data, recordings, caplog):
    shutil.copy(data / "train/a/mixture.wav", recordings / "y" / "mixture.wav")
    check(data, unlabelled(recordings))
    assert "1 of the 2 songs of found are training songs too, such as 'y'" in caplog.text


def silence(path):
    soundfile.write(path, np.zeros((500, 2), np.int16), RATE, subtype="PCM_16")


def test_silence_is_no_song(data, recordings):
    silence(data / "test/t/drums.wav")
    silence(recordings / "y" / "mixture.wav")
    check(data, unlabelled(recordings))
    silence(data / "test/t/mixture.wav")
    check(data, unlabelled(recordings))


@pytest.fixture
def labelled(tmp_path, write_song):
    """Pseudo-labelled songs, whose recordings are not beside them."""

    def made(origin):
        root = tmp_path / "labelled"
        for seed, name in enumerate(("x", "y")):
            folder = root / "train" / name
            write_song(folder, 500, 70 + seed, mixture=False)
            labels = [Label(0, 500, stem, 1.0) for stem in STEMS]
            facts = {"sha256": origin if name == "y" else "0" * 64}
            (folder / "labels.json").write_text(write_labels(labels, facts))
        return PseudoLabelConfig(songs="labelled", root=str(root))

    return made


def test_labels_of_a_test_song_are_refused_by_the_recording_that_they_are_of(data, labelled):
    origin = hashlib.sha256((data / "test/t/mixture.wav").read_bytes()).hexdigest()
    with pytest.raises(DataError, match="'y' of labelled is 't' of the test split"):
        check(data, labelled(origin))


def test_labels_of_other_songs_are_taken_though_a_stem_is_silent_in_both(data, labelled):
    config = labelled("1" * 64)
    silence(data / "test/t/bass.wav")
    silence(data.parent / "labelled/train/y/bass.wav")
    check(data, config)


def test_a_stem_of_a_validation_song_is_refused(data, labelled):
    config = labelled("1" * 64)
    shutil.copy(data / "valid/v/vocals.wav", data.parent / "labelled/train/y/vocals.wav")
    with pytest.raises(DataError, match="'y' of labelled is 'v' of the valid split"):
        check(data, config)


def test_labels_that_do_not_tell_their_recording_are_taken(data, labelled):
    config = labelled("1" * 64)
    path = data.parent / "labelled/train/y/labels.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    check(data, config)


def test_stems_that_add_up_to_a_test_song_but_for_rounding_are_known(data, recordings):
    """Estimates of a test song that was labelled in another file than the data set has."""
    song, rate = soundfile.read(data / "test" / "t" / "mixture.wav", dtype="float64")
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, song.shape)
    rounded = np.round(song * 32768 + dither) / 32768
    soundfile.write(recordings / "x" / "mixture.wav", rounded, rate, subtype="PCM_16")
    with pytest.raises(DataError, match="'x' of found is 't' of the test split"):
        check(data, unlabelled(recordings))


def test_another_song_of_the_same_length_is_another_song(data, recordings):
    song, rate = soundfile.read(data / "test" / "t" / "mixture.wav", dtype="float64")
    soundfile.write(recordings / "x" / "mixture.wav", 1.001 * song, rate, subtype="PCM_24")
    check(data, unlabelled(recordings))
