"""`python -m tools.pseudo_label` over a folder that holds songs of an earlier call."""

import csv
import json
import math
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import soundfile
from tiny_release import make_repo

import mss.distill.pseudo
import tools.pseudo_label_song
from mss.core.errors import DataError
from mss.distill.pseudo import Label, read_facts, read_labels, write_labels
from mss.distill.quality.regressor import RidgeRegressor
from mss.infer import staging
from tools.pseudo_label import main, write_table

RATE = 8000
STEMS = ("drums", "vocals")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    return make_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture(autouse=True)
def cache(cache_folder):
    return cache_folder


def write_song(folder, seed, frames=RATE + 123):
    folder.mkdir(parents=True, exist_ok=True)
    stems = 0.1 * np.random.default_rng(seed).standard_normal((2, frames, 2))
    for stem, audio in zip((*STEMS, "mixture"), (*stems, stems.sum(0)), strict=True):
        soundfile.write(folder / f"{stem}.wav", audio, RATE, subtype="FLOAT")


def label(repo, root, *more, teacher="bbbb2222", seconds="0.5"):
    options = ("--segment", seconds, "--context", "0.1", "--device", "cpu")
    if "--scores" not in more:
        more += ("--scores", "energy")
    return main(
        [
            *("--teacher", teacher, "--repo", str(repo)),
            *("--in", str(root / "songs"), "--out", str(root / "out")),
            *(*options, *more),
        ]
    )


@pytest.fixture(scope="module")
def labelled(repo, tmp_path_factory):
    """A folder `songs` of two, and `out` with their labels."""
    root = tmp_path_factory.mktemp("labelled")
    for seed, name in enumerate(("a", "b")):
        write_song(root / "songs" / name, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMGRID_CACHE", str(root / "cache"))
        assert label(repo, root) == 0
    return root


@pytest.fixture
def root(labelled, tmp_path):
    for name in ("songs", "out"):
        shutil.copytree(labelled / name, tmp_path / name)
    return tmp_path


def folder(root, name="a"):
    return root / "out" / "train" / name


def content(root, name="a"):
    """All files of a song's folder; none is hidden elsewhere."""
    assert [path for path in folder(root, name).parent.iterdir() if path.name[0] == "."] == []
    return {path.name: path.read_bytes() for path in folder(root, name).iterdir()}


def write_regressor(root, offset):
    path = root / "ridge.json"
    RidgeRegressor(("energy",), (-90,), (9,), (0,), (1,), (0.1,), {}, offset).save(path)
    return path


def test_only_a_song_whose_recording_was_replaced_is_made_again(repo, root, capsys):
    old, kept = content(root), content(root, "b")
    write_song(root / "songs" / "a", seed=7, frames=RATE)
    assert label(repo, root) == 0
    assert "pseudo_label: 1 song is made again: another recording (1)\n" in capsys.readouterr().err
    new = content(root)
    assert new.keys() == old.keys()
    assert all(new[name] != old[name] for name in old)
    assert content(root, "b") == kept
    assert sum(row.frames for row in read_labels(folder(root) / "labels.json")) == 2 * RATE
    assert soundfile.info(folder(root) / "drums.flac").frames == RATE
    assert label(repo, root) == 0
    assert "made again" not in capsys.readouterr().err
    assert content(root) == new


def test_other_options_make_all_songs_again(repo, root, capsys):
    steps = [
        ("other score options", ("--seed", "3")),
        ("another regressor", ("--regressor", str(write_regressor(root, 1.0)))),
        ("other references", ("--references", str(root / "songs"))),
    ]
    options = ()
    for reason, more in steps:
        options += more
        assert label(repo, root, *options) == 0
        assert f"2 songs are made again: {reason} (2)" in capsys.readouterr().err
    before = {row.weight for row in read_labels(folder(root) / "labels.json")}
    write_regressor(root, 15.0)
    write_song(root / "songs" / "b", seed=8)
    assert label(repo, root, *options) == 0
    again = "another regressor (1), another recording and another regressor and other references"
    assert f"2 songs are made again: {again} (1)" in capsys.readouterr().err
    rows = read_labels(folder(root) / "labels.json")
    assert before.isdisjoint(row.weight for row in rows)
    assert rows[0].scores.keys() == {"energy", "sdr", "true_sdr"}
    assert label(repo, root, *options) == 0
    assert "made again" not in capsys.readouterr().err


def test_stems_of_another_format_replace_the_old_ones(repo, root, capsys):
    (folder(root) / "notes.txt").write_text("the user's own")
    assert label(repo, root, "--format", "wav32") == 0
    assert "another stem format (2)" in capsys.readouterr().err
    assert content(root).keys() == {"drums.wav", "vocals.wav", "labels.json", "notes.txt"}


def test_labels_that_name_no_teacher_are_called_damaged(repo, root, capsys):
    path = folder(root) / "labels.json"
    old = {name: value for name, value in read_facts(path).items() if name != "teacher"}
    path.write_text(write_labels(read_labels(path), old))
    assert label(repo, root) == 1
    assert "labels.json: damaged, it names no teacher; remove the folder" in capsys.readouterr().err


def test_labels_without_a_key_and_songs_without_a_stem_are_made_again(repo, root, capsys):
    whole, path = content(root), folder(root) / "labels.json"
    facts = read_facts(path)
    old = {name: facts[name] for name in ("song", "sha256", "teacher", "samplerate")}
    path.write_text(write_labels(read_labels(path), old))
    (folder(root, "b") / "drums.flac").unlink()
    assert label(repo, root) == 0
    reasons = "labels that tell too little of how they were made (1), a missing stem (1)"
    assert f"2 songs are made again: {reasons}" in capsys.readouterr().err
    assert content(root) == whole
    assert (folder(root, "b") / "drums.flac").is_file()


def test_a_bag_of_other_weights_is_another_teacher(repo, root, tmp_path, capsys):
    shutil.rmtree(root / "out")
    mine = tmp_path / "repo"
    shutil.copytree(repo, mine)
    assert label(mine, root, teacher="both") == 0
    kept = content(root)
    bag = (mine / "both.yaml").read_text()
    (mine / "both.yaml").write_text(bag + "weights: {drums: [3, 1]}\n")
    write_song(root / "songs" / "0new", seed=9)
    capsys.readouterr()
    assert label(mine, root, teacher="both") == 1
    assert "was labelled by another both, with other weights" in capsys.readouterr().err
    assert content(root) == kept
    assert not folder(root, "0new").exists()  # the folder still holds one teacher's labels
    # by the model's name, where labels tell no more
    path = folder(root) / "labels.json"
    path.write_text(write_labels(read_labels(path), {"teacher": "someone"}))
    assert label(mine, root, teacher="both") == 1
    assert "was labelled by someone, not by both; give another --out" in capsys.readouterr().err


def test_a_song_that_can_not_be_made_again_stays_as_it_was_and_is_told(repo, root, capsys):
    kept, vanished = content(root), content(root, "b")
    (root / "songs" / "a" / "mixture.wav").write_text("no audio")
    shutil.rmtree(root / "songs" / "b")
    assert label(repo, root) == 1
    printed = capsys.readouterr()
    assert f"{root / 'songs' / 'a' / 'mixture.wav'}: " in printed.err
    assert f"{folder(root)} still holds the labels of an earlier call" in printed.err
    assert "pseudo_label: b: its recording is not in --in any more" in printed.err
    assert "0 of 1 songs are labelled" in printed.out
    assert content(root) == kept
    assert content(root, "b") == vanished
    assert (root / "out" / "labels.csv").read_text().splitlines()[1:] == []


def test_a_recording_that_can_not_be_opened_is_told_and_the_others_go_on(
    repo, root, capsys, monkeypatch
):
    recording = root / "songs" / "a" / "mixture.wav"
    recording.unlink()  # after it was listed
    write_song(root / "songs" / "b", seed=5)
    files = {"a": recording, "b": root / "songs" / "b" / "mixture.wav"}
    monkeypatch.setattr("tools.pseudo_label.named_songs", lambda folder: files)
    assert label(repo, root) == 1
    printed = capsys.readouterr()
    assert f"pseudo_label: a: {recording}: can't be read" in printed.err
    assert "1 of 2 songs are labelled" in printed.out


@pytest.mark.parametrize("fault", ["missing", "truncated", "longer"])
def test_a_bad_reference_is_named_and_leaves_no_labels(repo, root, fault, capsys):
    shutil.rmtree(folder(root, "b"))
    kept = content(root)
    named = {}
    for name in ("a", "b"):
        true = root / "true" / name
        write_song(true, seed=4)
        audio, _ = soundfile.read(true / "vocals.wav")
        (true / "vocals.wav").unlink()
        named[name] = f"{true} holds no vocals"
        if fault == "missing":
            continue
        bad = true / "vocals.flac"
        named[name] = f"{bad}: "
        longer = np.pad(audio, ((0, 2 * RATE), (0, 0)))
        soundfile.write(bad, longer if fault == "longer" else audio, RATE)
        if fault == "truncated":  # its header still promises the whole
            bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    assert label(repo, root, "--references", str(root / "true")) == 1
    error = capsys.readouterr().err
    for name, fault_of in named.items():
        line = next(row for row in error.splitlines() if row.startswith(f"pseudo_label: {name}: "))
        assert fault_of in line
    assert content(root) == kept
    assert not folder(root, "b").exists()


def stop(*args):
    raise KeyboardInterrupt


def test_a_stop_while_a_song_is_scored_changes_nothing(repo, root, monkeypatch):
    kept = content(root)
    write_song(root / "songs" / "a", seed=7)
    shutil.rmtree(folder(root, "b"))
    monkeypatch.setattr(tools.pseudo_label_song, "scored_row", stop)
    with pytest.raises(KeyboardInterrupt):
        label(repo, root)
    assert content(root) == kept
    shutil.rmtree(root / "songs" / "a")
    with pytest.raises(KeyboardInterrupt):  # in b, of which there was nothing
        label(repo, root)
    assert content(root) == kept
    assert not folder(root, "b").exists()


def test_a_kill_while_stems_are_replaced_leaves_a_song_that_is_not_done(repo, root, monkeypatch):
    write_song(root / "songs" / "a", seed=7)
    replace, old = staging.os.replace, content(root)

    def kill(source, final):
        if str(final).endswith("train/a/vocals.flac"):
            raise KeyboardInterrupt
        replace(source, final)

    monkeypatch.setattr(staging.os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        label(repo, root)
    monkeypatch.setattr(staging.os, "replace", replace)
    half = content(root)
    assert half.keys() == {"drums.flac", "vocals.flac"}  # the one new, the other old
    assert half["drums.flac"] != old["drums.flac"]
    assert half["vocals.flac"] == old["vocals.flac"]
    assert label(repo, root) == 0
    assert read_facts(folder(root) / "labels.json")["song"] == "a"
    assert content(root)["vocals.flac"] != old["vocals.flac"]


def test_a_format_that_no_training_reads_is_refused(repo, root, capsys):
    assert label(repo, root, "--format", "mp3") == 1
    assert "--format: a training reads wav and flac, not mp3" in capsys.readouterr().err


def write_table_of(tmp_path, songs):
    files = {}
    for name, scores in songs.items():
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(write_labels([Label(0, 10, "drums", 0.5, scores)], {}))
    return files


def test_the_table_has_all_scores_and_one_song_in_memory(tmp_path, monkeypatch):
    files = write_table_of(
        tmp_path, {"a": {"x": 1.0}, "b": {"y": math.nan}, "c": {"y": 2.0}, "d": {"x": 3.0}}
    )

    class Rows(list):
        """A list that can be watched."""

    alive, most = weakref.WeakValueDictionary(), []

    def read(path):
        rows = Rows(read_labels(path))
        alive[path] = rows
        most.append(len(alive))
        return rows

    monkeypatch.setattr(mss.distill.pseudo, "read_labels", read)
    write_table(tmp_path / "labels.csv", files, ["x", "y"])
    with (tmp_path / "labels.csv").open() as file:
        rows = [(row["song"], row["weight"], row["x"], row["y"]) for row in csv.DictReader(file)]
    assert rows == [
        ("a", "0.5000", "1.0000", ""),
        ("b", "0.5000", "", ""),
        ("c", "0.5000", "", "2.0000"),
        ("d", "0.5000", "3.0000", ""),
    ]
    assert len(most) == 4
    assert max(most) <= 2


def test_a_table_that_can_not_be_finished_leaves_the_old_one(tmp_path):
    files = write_table_of(tmp_path, {"a": {"x": 1.0}, "b": {"x": 2.0}})
    files["b"].write_text("{")
    (tmp_path / "labels.csv").write_text("old")
    with pytest.raises(DataError, match=r"b\.json"):
        write_table(tmp_path / "labels.csv", files, ["x"])
    assert (tmp_path / "labels.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "labels.csv"]


def test_help_needs_no_torch():
    code = (
        "import sys; from tools.pseudo_label import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_labels_tell_what_they_were_made_from(root):
    facts = json.loads((folder(root) / "labels.json").read_text())
    assert facts["form"] == 1  # an older program reads them
    assert facts["provenance"]["recording"] == facts["sha256"]
    assert facts["provenance"]["scores"]["scores"] == ["energy"]
    assert facts["provenance"]["format"] == "FLAC PCM_16"
    assert facts["files"] == ["drums.flac", "vocals.flac"]
