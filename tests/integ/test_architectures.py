"""Every architecture goes the whole way: trained through Dora, exported, loaded again."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from mss.core import registry
from mss.release.repo import Repo

pytestmark = pytest.mark.integ

ALREADY = {"hdemucs", "openunmix"}  # test_main_job.py has them
FAMILY_HEADS = {"htdemucs", "bs_roformer", "scnet", "mdx23c", "bsrnn", "spleeter"}


@pytest.mark.timeout(300)  # five programs that import torch, one behind the other
@pytest.mark.parametrize("name", sorted(set(registry.names("model", plugins=False)) - ALREADY))
def test_trains_and_comes_back(lab, name):
    overrides = ("dset=demo_tiny", f"model={name}_tiny", "variant=debug", "train.items=4")
    lab.train(*overrides)
    sig = lab.signature(*overrides)
    (folder,) = lab.runs.iterdir()
    assert folder.name == sig
    history = json.loads((folder / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert math.isfinite(history[-1]["test"]["nsdr"])

    lab.run("tools.export", sig)
    release = Repo(lab.root / "release_models").load(sig)
    (model,) = release.members
    assert release.headers[0].arch == name
    mix = 0.1 * torch.randn(1, 2, 44100)
    with torch.inference_mode():
        assert model(mix).wave.shape == (1, 4, 2, 44100)
    if name not in FAMILY_HEADS:
        return

    table = lab.run("tools.test_pretrained", "-n", sig, "dset=demo_tiny")
    assert "vocals" in table and "do nothing" in table
    song = next(Path(lab.environment["STEMGRID_CACHE"]).rglob("test/*/mixture.wav"))
    lab.run("mss", "separate", str(song), "-o", "out")
    stems = sorted((lab.root / "out" / "mixture").glob("*.wav"))
    assert [stem.stem for stem in stems] == ["bass", "drums", "other", "vocals"]
    assert {soundfile.info(stem).frames for stem in stems} == {soundfile.info(song).frames}
