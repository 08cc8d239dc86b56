"""Bad input: one clear message, a non-zero exit, no traceback."""

import pickle

import pytest
import soundfile

from mss.core.registry import resolve
from mss.core.types import AudioSpec
from mss.release.export import export_model

pytestmark = pytest.mark.integ

MODEL = ("model=openunmix_tiny", "model.hidden_size=16", "model.nb_layers=1", "variant=debug")


def check(printed, *parts):
    assert "Traceback" not in printed, printed
    for part in parts:
        assert part in printed, printed


def test_a_misspelt_key(lab):
    printed = lab.train("model=openunmix", "model.hiden_size=3", status=1)
    check(printed, "model.hiden_size", "Did you mean 'model.hidden_size'")


def test_a_misspelt_choice_and_group(lab):
    check(lab.train("model=hdemux", status=1), "model=hdemux", "Did you mean 'hdemucs'")
    check(lab.train("modl=hdemucs", status=1), "modl", "Did you mean 'model'")
    check(lab.train("dset", status=1), "key=value")


def test_a_value_of_a_wrong_type(lab):
    printed = lab.train("dset=demo_tiny", "model=openunmix_tiny", "model.nb_layers=two", status=1)
    check(printed, "model.nb_layers", "integer", "two")


def test_a_missing_data_root(lab):
    check(lab.train("dset=folder", status=1), "dset.root")
    check(lab.train("dset=folder", "dset.root=nowhere", status=1), "nowhere")
    check(lab.train("dset=musdb18hq", status=1), "dset.root")


def test_values_that_can_not_be(lab):
    check(lab.train("seed=abc", status=1), "seed", "abc")
    check(lab.train("optim.betas=[1.5,0.9]", "dset=demo_tiny", *MODEL, status=1), "betas")


def test_an_outputs_folder_that_can_not_be_made(lab):
    lab.environment["STEMGRID_OUTPUTS"] = "/proc/nowhere"
    check(lab.train("dset=demo_tiny", *MODEL, status=1), "/proc/nowhere")


def test_a_folder_without_tracks(lab, tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    root = tmp_path / "empty"
    check(lab.train("dset=folder", f"dset.root={root}", status=1), str(root))


def test_a_truncated_wav(lab, tmp_path):
    import numpy as np

    root = tmp_path / "songs"
    for name in ("train/a", "train/b"):
        for stem in ("x", "y"):
            path = root / name / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = 0.1 * np.random.default_rng(0).standard_normal((44100, 2))
            soundfile.write(path, noise, 44100, subtype="PCM_16")
    bad = root / "train" / "b" / "y.wav"
    bad.write_bytes(bad.read_bytes()[:60_000])
    check(lab.train("dset=folder", f"dset.root={root}", *MODEL, status=1), "y.wav", "truncated")
    check(lab.run("tools.check_data", str(root), status=1), "y.wav", "truncated")


def test_a_corrupted_release_and_a_pickle(lab, tmp_path):
    model = resolve("model", "openunmix").tiny(AudioSpec(("a", "b")))
    repo = tmp_path / "models"
    path = export_model(model, repo, arch="openunmix", signature="abcdef01")
    song = tmp_path / "song.wav"
    soundfile.write(song, [[0.0, 0.1]] * 1000, 44100)
    lab.run("mss", "separate", "--repo", str(repo), str(song), "-o", "good")

    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    printed = lab.run("mss", "separate", "--repo", str(repo), str(song), "-o", "out", status=1)
    check(printed, path.name)
    assert not (lab.root / "out").exists()

    class Payload:
        def __reduce__(self):
            return print, ("executed",)

    path.write_bytes(pickle.dumps(Payload()))
    printed = lab.run("mss", "separate", "--repo", str(repo), str(song), "-o", "out", status=1)
    check(printed, path.name)
    assert "executed" not in printed


def test_no_such_run_and_no_such_model(lab):
    check(lab.run("tools.export", "00000000", status=1), "00000000")
    lab.root.joinpath("song.wav").write_bytes(b"")
    check(lab.run("mss", "separate", "song.wav", status=1), "make demo")


def test_two_songs_are_needed_to_hold_one_out(lab, tmp_path):
    path = tmp_path / "songs" / "train" / "a" / "x.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, [[0.1, 0.1]] * 44100, 44100)
    printed = lab.train("dset=folder", f"dset.root={tmp_path / 'songs'}", *MODEL, status=1)
    check(printed, "validate")
