"""A run that starts from another's weights: the same stems, other stems, a released model."""

import json

import pytest
import torch

pytestmark = pytest.mark.integ

BASE = (
    "dset=demo_tiny",
    "model=openunmix_tiny",
    "model.hidden_size=16",
    "misc.threads=1",
    "misc.workers=0",
    "augment=none",
)
TINY = (*BASE, "variant=debug", "train.items=4", "train.segment=1")
FINETUNE = (*BASE, "variant=finetune", "train.epochs=1", "train.items=4", "train.batch_size=4")
FINETUNE += ("train.segment=1", "schedule.warmup_steps=0")


def final(lab, *overrides):
    sig = lab.signature(*overrides)
    return sig, torch.load(lab.runs / sig / "checkpoint.th", weights_only=True)


@pytest.mark.timeout(400)
def test_a_run_goes_on_from_another_run_and_from_its_release(lab):
    lab.train(*TINY)
    sig, origin = final(lab, *TINY)

    # the same stems: every weight, so with a rate of next to nothing it is the other model
    same = (*FINETUNE, f"continue_from={sig}", "optim.lr=1e-12")
    printed = lab.train(*same)
    count = len(origin["model"])
    assert f"{count} of {count} weights are those of run {sig}, epoch" in printed
    same_sig, tuned = final(lab, *same)
    for key, tensor in origin["best"]["state"].items():
        if "running" not in key and "tracked" not in key:  # statistics move with each batch
            assert torch.allclose(tuned["model"][key], tensor, rtol=0, atol=1e-9), key
    provenance = json.loads((lab.runs / same_sig / "provenance.json").read_text())
    assert provenance["continued_from"] == f"run {sig}, epoch {origin['best']['epoch']}"
    assert "Resuming after 1 epochs" in lab.train(*same)  # its own checkpoint goes before

    # with the optimiser's state: its count of updates goes on
    opt = (*FINETUNE, f"continue_from={sig}", "continue_opt=true")
    lab.train(*opt)
    steps = [final(lab, *run)[1]["optim"]["state"][0]["step"].item() for run in (TINY, same, opt)]
    assert steps == [2, 1, 3]

    # a released model, to one target of its own and one that it never had
    name = lab.run("tools.export", sig, "-o", "repo").strip().splitlines()[-1].split("/")[-1]
    name = name.removesuffix(".safetensors")
    lab.environment["STEMGRID_REPO"] = str(lab.root / "repo")
    other = (*FINETUNE, f"continue_from={name}", "targets=vocals")
    printed = lab.train(*other)
    assert f"weights are those of released model {name}" in printed
    assert "are there and not needed" in printed
    assert "has the sources drums, bass, other, vocals, this run vocals" in printed

    for wrong, told in (
        ((f"continue_from={name}", "continue_opt=true"), "continue_opt: "),
        (("continue_from=nothing",), "continue_from: nothing is neither a trained run"),
        (("continue_opt=true",), "continue_opt: there is no run to take it from"),
        ((f"continue_from={sig}", "model=hdemucs_tiny"), "has no weight that fits this model"),
    ):
        kept = [o for o in FINETUNE if "hidden_size" not in o or "hdemucs" not in wrong[-1]]
        printed = lab.train(*kept, *wrong, status=1)
        assert told in printed
        assert "Traceback" not in printed
