"""Ways to be taught, through Dora: by a release, by unlabelled songs (labels: test_grids.py)."""

import json
import shutil

import pytest
import torch

pytestmark = pytest.mark.integ

RUN = (
    "dset=demo_tiny",
    "model=openunmix_tiny",
    "model.hidden_size=16",
    "model.nb_layers=1",
    "variant=debug",
    "train.items=16",
    "train.batch_size=8",
    "misc.threads=1",
    "misc.workers=0",
)


@pytest.mark.timeout(400)
def test_a_release_teaches_and_songs_without_labels_are_heard(lab, cache):
    lab.train(*RUN)
    lab.run("tools.export", lab.signature(*RUN), "-o", "release_models")
    songs = next(path for path in (cache / "demo").iterdir() if path.is_dir())
    mixtures = lab.root / "mixtures"
    for song in (songs / "train").iterdir():
        (mixtures / song.name).mkdir(parents=True)
        shutil.copy(song / "mixture.wav", mixtures / song.name)
    name = next((lab.root / "release_models").glob("*.safetensors")).stem

    first = next(iter((mixtures).iterdir())).name
    spans = [{"song": first, "stem": "bass", "start": 0, "frames": 4 * 44100}]
    (mixtures / "silence.json").write_text(json.dumps({"silent": spans}))

    def songs_of(root):
        return ("distill.songs=few", f"distill.root={root}")

    runs = {
        "teacher": (f"distill.model={name}",),
        "silent_stem": songs_of(mixtures),
        "remixit": songs_of(mixtures),
        "mean_teacher": songs_of(mixtures),
    }
    losses = {}
    for kind, values in runs.items():
        run = (*RUN, f"distill={kind}", *values)
        lab.train(*run)
        history = json.loads((lab.runs / lab.signature(*run) / "history.json").read_text())
        assert len(history) == 2
        losses[kind] = [epoch["train"]["loss"] for epoch in history]
        assert all(torch.isfinite(torch.tensor(losses[kind])))
        if kind == "silent_stem":
            assert history[-1]["train"]["loss_remainder"] > 0
    assert len({tuple(values) for values in losses.values()}) == len(runs)
