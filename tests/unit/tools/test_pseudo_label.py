"""`python -m tools.pseudo_label`: songs labelled by a released model."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from tiny_release import make_repo

from mss.core.audio_io import read_audio
from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.data.folder import FolderDataset
from mss.data.segments import Beginning
from mss.distill.items import ItemPlan, training_items
from mss.distill.pseudo import PseudoLabelConfig, SelectConfig, read_labels
from mss.metrics.energy import NSDR
from tools.pseudo_label import main

RATE = 8000
OPTIONS = ("--segment", "1", "--context", "0.1", "--scores", "energy,agreement", "--device", "cpu")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture(autouse=True)
def cache(cache_folder):
    return cache_folder


def write_songs(root, names, seed=0):
    generator = np.random.default_rng(seed)
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        stems = 0.1 * generator.standard_normal((2, 3 * RATE + 123, 2))
        for stem, audio in zip(("drums", "vocals"), stems, strict=True):
            soundfile.write(folder / f"{stem}.wav", audio, RATE, subtype="FLOAT")
        soundfile.write(folder / "mixture.wav", stems.sum(0), RATE, subtype="FLOAT")
    return root


@pytest.fixture
def songs(tmp_path):
    return write_songs(tmp_path / "songs", ["a", "b"])


def label(repo, songs, out, *more, teacher="bbbb2222"):
    arguments = ["--teacher", teacher, "--repo", str(repo), "--in", str(songs), "--out", str(out)]
    return main([*arguments, *OPTIONS, "--format", "wav32", *more])


def test_stems_add_up_to_the_song_and_each_segment_has_a_label(repo, songs, tmp_path):
    out = tmp_path / "out"
    assert label(repo, songs, out, "--references", str(songs)) == 0
    for name in ("a", "b"):
        folder = out / "train" / name
        stems = torch.stack([read_audio(folder / f"{s}.wav")[0] for s in ("drums", "vocals")])
        mixture = read_audio(songs / name / "mixture.wav")[0]
        torch.testing.assert_close(stems.sum(0), mixture, rtol=0, atol=1e-6)
        labels = read_labels(folder / "labels.json")
        spans = {(row.start, row.frames) for row in labels}
        assert sum(frames for _, frames in spans) == 3 * RATE + 123
        assert {row.stem for row in labels} == {"drums", "vocals"}
        row = next(r for r in labels if r.stem == "vocals" and r.start == RATE)
        span = slice(row.start, row.start + row.frames)
        truth = torch.stack([read_audio(songs / name / f"{s}.wav")[0] for s in ("drums", "vocals")])
        expected = NSDR()(truth[..., span], stems[..., span], RATE)[1].item()
        assert row.scores["true_sdr"] == pytest.approx(expected, abs=1e-3)
        level = 10 * np.log10(
            (stems[1, :, span] ** 2).sum().item() / (mixture[:, span] ** 2).sum().item()
        )
        assert row.scores["energy"] == pytest.approx(level, abs=1e-3)
        assert row.weight == 1  # nothing calibrated it
    with (out / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3
    assert set(rows[0]) >= {"song", "stem", "start", "weight", "agreement", "true_sdr"}


def test_a_second_call_makes_only_what_is_missing(repo, songs, tmp_path):
    out = tmp_path / "out"
    assert label(repo, songs, out) == 0
    table = (out / "labels.csv").read_bytes()
    kept = out / "train" / "a" / "labels.json"
    before = kept.stat().st_mtime_ns
    expected = (out / "train" / "b" / "drums.wav").read_bytes()
    (out / "train" / "b" / "labels.json").unlink()  # as a kill between stems and labels leaves it
    (out / "train" / "b" / "drums.wav").write_bytes(b"")
    assert label(repo, songs, out) == 0
    assert kept.stat().st_mtime_ns == before
    assert (out / "train" / "b" / "drums.wav").read_bytes() == expected
    assert (out / "labels.csv").read_bytes() == table


def test_a_bad_song_is_named_and_the_others_are_labelled(repo, songs, tmp_path, capsys):
    (songs / "a" / "mixture.wav").write_text("no audio")
    out = tmp_path / "out"
    assert label(repo, songs, out) == 1
    printed = capsys.readouterr()
    assert "pseudo_label: a: " in printed.err
    assert "mixture.wav" in printed.err
    assert "1 of 2 songs are labelled" in printed.out
    assert not (out / "train" / "a").exists()
    assert (out / "train" / "b" / "labels.json").exists()


def test_songs_that_another_model_labelled_are_not_mixed_with_ours(repo, songs, tmp_path, capsys):
    out = tmp_path / "out"
    assert label(repo, songs, out) == 0
    assert label(repo, songs, out, teacher="aaaa1111") == 1
    assert "was labelled by openunmix-bbbb2222" in capsys.readouterr().err


def test_two_songs_of_one_name_are_refused(repo, tmp_path, capsys):
    songs = tmp_path / "songs"
    for folder in ("x", "y"):
        (songs / folder).mkdir(parents=True)
        soundfile.write(songs / folder / "same.wav", np.zeros((100, 2)), RATE)
    assert label(repo, songs, tmp_path / "out") == 1
    assert "two songs are called 'same'" in capsys.readouterr().err


def test_a_training_takes_them_beside_the_labelled_songs(repo, songs, tmp_path):
    """Half of the items, trusted as the labels say; the rest of the training is not changed."""
    out = tmp_path / "out"
    assert label(repo, songs, out, "--references", str(songs)) == 0
    data = tmp_path / "data"
    write_songs(data / "train", ["c", "d"], seed=5)
    write_songs(data / "valid", ["v"], seed=6)
    config = FolderDataset.Config(root=str(data), samplerate=RATE)
    tracks = FolderDataset(config).split("train")
    targets = TargetMap.make({}, tracks.stems)
    plan = ItemPlan(RATE // 2, 16, seed=3, batch_size=8, group=4)
    chosen = PseudoLabelConfig(
        songs="labelled",
        root=str(out),
        share=0.5,
        select=SelectConfig(by="true_sdr", keep=0.5),
    )
    items = training_items(tracks, targets, plan, chosen)
    plain = training_items(tracks, targets, plan, None)
    assert len(items.segments) == len(plain.segments) == 16
    trust = torch.stack([items.segments[0, index].trust for index in range(16)])
    assert trust[:4].eq(1).all()
    assert trust[8:12].eq(1).all()
    assert 0 < trust[4:8].mean() < 1
    assert [track.name for track in items.added[0].tracks] == ["a", "b"]
    # a batch of one group would be labelled or not, and weights would cancel out
    with pytest.raises(ConfigError, match=r"distill\.share: 0\.5 makes 4 of the 4 items"):
        training_items(tracks, targets, replace(plan, batch_size=4), chosen)
    fixed = replace(plan, fixed=True, beginning=Beginning(1, frozenset({"c"})))
    with pytest.raises(ConfigError, match=r"distill\.curriculum\.epochs: with train\.fixed_crops"):
        training_items(tracks, targets, fixed, None)
    # what is chosen is part of the data's identity
    path = out / "train" / "a" / "labels.json"
    content = json.loads(path.read_text())
    content["labels"][0]["weight"] = 0.5
    path.write_text(json.dumps(content))
    again = training_items(tracks, targets, plan, chosen)
    assert again.fingerprints != items.fingerprints
    content["labels"] = [row for row in content["labels"] if row["stem"] != "drums"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"labels\.json: has no label of drums; remove"):
        training_items(tracks, targets, plan, chosen)
    shutil.rmtree(out / "train" / "a")
