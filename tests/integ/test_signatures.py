"""What makes a run another run, and what stops one that is no longer itself."""

import shutil

import pytest
import soundfile

pytestmark = pytest.mark.integ

MODEL = ("model=openunmix_tiny", "model.hidden_size=16", "model.nb_layers=1", "variant=debug")


@pytest.fixture
def songs(tmp_path):
    """Three short songs of two stems, as train and test."""
    import numpy as np

    generator = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/c"):
        folder = tmp_path / "songs" / name
        folder.mkdir(parents=True)
        for stem in ("left", "right"):
            noise = 0.1 * generator.standard_normal((3 * 44100, 2))
            soundfile.write(folder / f"{stem}.wav", noise, 44100, subtype="PCM_16")
    return tmp_path / "songs"


def test_a_changed_default_stops_the_resume(lab):
    lab.train("dset=demo_tiny", *MODEL)
    path = lab.root / "conf" / "optim" / "adam.yaml"
    path.write_text(path.read_text().replace("lr: 3e-4", "lr: 1e-3"))
    printed = lab.train("dset=demo_tiny", *MODEL, status=1)
    assert "optim.lr: '3e-4' -> '1e-3'" in printed or "optim.lr: 0.0003 -> 0.001" in printed
    assert "Traceback" not in printed
    assert "train 1/2" not in printed
    lab.train("dset=demo_tiny", *MODEL, "misc.accept_changes=true")


def test_a_changed_default_group_stops_the_resume_too(lab):
    """Members of an open mapping are no harmless additions: they change what is learned."""
    lab.train("dset=demo_tiny", *MODEL)
    path = lab.root / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("augment: default", "augment: none"))
    assert "augment.batch" in lab.train("dset=demo_tiny", *MODEL, status=1)


def test_a_first_start_that_failed_leaves_nothing_to_compare_with(lab):
    path = lab.root / "conf" / "optim" / "adam.yaml"
    right = path.read_text()
    path.write_text(right.replace("lr: 3e-4", "lr: -1"))
    assert "optim.lr" in lab.train("dset=demo_tiny", *MODEL, status=1)
    path.write_text(right)
    lab.train("dset=demo_tiny", *MODEL)


def test_an_added_key_does_not(lab):
    lab.train("dset=demo_tiny", *MODEL)
    path = lab.root / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("seed: 42", "seed: 42\nnew_key: 1"))
    lab.train("dset=demo_tiny", *MODEL)


def test_data_is_known_by_content_not_by_path(lab, songs, tmp_path):
    def run(root, status=0):
        return lab.train(
            "dset=folder", "dset.name=mine", f"dset.root={root}", *MODEL, status=status
        )

    run(songs)
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(songs, moved)
    printed = run(moved)
    assert "Resuming after 2 epochs" in printed
    assert len(list(lab.runs.iterdir())) == 1

    stem = moved / "train" / "a" / "left.wav"
    content = bytearray(stem.read_bytes())
    content[1000] ^= 1
    stem.write_bytes(content)
    printed = run(moved, status=1)
    assert "other data" in printed
    assert "give dset.name" in printed
    assert "Traceback" not in printed


def test_what_is_outside_of_a_signature(lab):
    """Paths, threads and the scheduler's settings make no other run; hyper-parameters do."""
    base = lab.signature("dset=folder")
    assert lab.signature("dset=folder", "dset.root=somewhere", "misc.threads=3") == base
    assert lab.signature("dset=folder", "dset.cache=int16", "misc.workers=7") == base
    assert lab.signature("dset=folder", "optim.lr=1") != base
    assert lab.signature("dset=folder", "dset.name=mine") != base
