"""The grids that answer whether distillation, labels and filters help: their data, and two epochs.

In the first one a provider with a teacher of its own has nothing to say.
"""

import json

import pytest

pytestmark = pytest.mark.integ

SHORT = {
    '"train.epochs": epochs, "train.items": 240': '"train.epochs": 2, "train.items": 8',
    '"train.segment": 2': '"train.segment": 2, "schedule.warmup_steps": 0',
    '"model": "openunmix_tiny"': '"model": "openunmix_tiny", "model.hidden_size": 16',
}


@pytest.fixture
def short_lab(lab):
    """The lab with few songs where the grids have many, and with runs of two epochs."""
    large = lab.root / "conf" / "dset" / "demo_large.yaml"
    large.write_text(large.read_text().replace("size: demo_large", "size: tiny"))
    path = lab.root / "grids" / "_demo.py"
    text = path.read_text()
    for usual, short in SHORT.items():
        assert usual in text
        text = text.replace(usual, short)
    path.write_text(text)
    return lab


def train(lab, *patterns: str) -> dict[str, dict]:
    """Run a part of a grid; return the last epoch of each run, by signature."""
    before = set(lab.runs.iterdir()) if lab.runs.exists() else set()
    lab.run("tools.grid", *patterns, "--local", "-o", "misc.threads=1", "-o", "misc.workers=0")
    epochs = {}
    for folder in set(lab.runs.iterdir()) - before:
        _, epoch = json.loads((folder / "history.json").read_text())
        assert epoch["train"]["loss"] > 0
        assert "nsdr" in epoch["test"]
        epochs[folder.name] = epoch
    return epochs


@pytest.mark.timeout(400)
def test_a_run_of_each_grid_on_data_made_for_it(short_lab):
    lab = short_lab
    assert len(train(lab, "pskd", "alpha=0.3", "teacher=ema", "seed=44")) == 1

    lab.run("tools.demo_trials", "pseudo_label")
    ((few, _),) = train(lab, "pseudo_label", "0").items()
    repo = ("--repo", "release_models")
    lab.run("tools.export", few, "-o", "release_models")
    derived = lab.root / "outputs" / "derived"
    labels = derived / "demo_large_pseudo"
    mixtures = ("--in", str(derived / "demo_large_unlabelled"), "--out", str(labels))
    truth = str(derived / "demo_large_truth")
    scores = ("--references", truth, "--scores", "energy", "--segment", "2")
    lab.run("tools.pseudo_label", "--teacher", few, *repo, *mixtures, *scores)
    assert len(train(lab, "pseudo_label", "true_sdr", "seed=44")) == 1

    lab.run("tools.demo_trials", "label_noise")
    noisy = derived / "demo_large_noisy"
    filtered = derived / "demo_large_filtered.csv"
    judged = ("--in", str(noisy), "--out", str(filtered), "-n", few, "--keep", "0.5")
    printed = lab.run("tools.filter_noise", *judged, *repo, "--truth", str(noisy / "truth.json"))
    assert "AUC" in printed
    assert len(train(lab, "label_noise", "demo_large_filtered", "seed=44")) == 1
