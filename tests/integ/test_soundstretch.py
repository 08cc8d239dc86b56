"""Pitch and tempo of real stems in the loader's workers, by either backend."""

import os
import shutil

import pytest
import torch

pytestmark = pytest.mark.integ

RUN = (
    "dset=folder",
    "dset.name=remixed",
    "dset.valid_tracks=1",
    "targets=all",
    "model=openunmix_tiny",
    "model.hidden_size=16",
    "model.nb_layers=1",
    "variant=debug",
    "train.items=8",
    "train.epochs=1",
    "misc.threads=1",
    "misc.workers=1",
    "augment=soundstretch",
    "augment.loader.soundstretch.proba=1",
)


@pytest.mark.timeout(300)
def test_real_songs_train_with_both_backends_and_a_resume_keeps_to_its_own(lab, shared_data):
    if shutil.which("soundstretch") is None and "CI" not in os.environ:
        pytest.skip("the program soundstretch is not installed")
    losses = {}
    for backend in ("soundstretch", "python-stretch"):
        run = (*RUN, f"dset.root={shared_data}", f"augment.loader.soundstretch.backend={backend}")
        text = lab.train(*run)
        assert backend in text  # the choice is told
        path = lab.runs / lab.signature(*run) / "checkpoint.th"
        state = torch.load(path, weights_only=True)
        losses[backend] = state["history"][0]["train"]["loss"]
    assert losses["soundstretch"] != losses["python-stretch"]
    assert 0.3 < losses["soundstretch"] / losses["python-stretch"] < 3

    # where the machine has chosen, another choice is a change of the data
    auto = (*RUN, f"dset.root={shared_data}", "train.epochs=2")
    lab.train(*auto)
    hidden = lab.root / "bin"
    hidden.mkdir()
    lab.environment["PATH"] = str(hidden)  # soundstretch is gone
    refused = lab.train(*auto, "train.epochs=2", status=1)
    assert "backends" in refused
    assert "Traceback" not in refused
