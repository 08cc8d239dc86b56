"""Distillation through Dora: off is off, and a killed run is taught the same again."""

import random

import pytest
from run_checkpoints import assert_equal, final, wait_for_updates

pytestmark = pytest.mark.integ

RUN = (
    "dset=demo_tiny",
    "model=openunmix_tiny",
    "model.hidden_size=32",
    "variant=debug",
    "train.items=24",  # six updates an epoch
    "misc.threads=1",
    "misc.workers=0",
)


@pytest.mark.timeout(400)
def test_alpha_0_is_none_and_a_killed_pskd_run_resumes_bit_equal(make_lab):
    plain, taught = make_lab("plain"), make_lab("taught")
    plain.train(*RUN)
    expected = final(plain, plain.signature(*RUN))
    off = (*RUN, "distill=pskd", "distill.alpha=0")
    taught.train(*off)
    found = final(taught, taught.signature(*off))
    for part in ("model", "optim"):
        assert_equal(found[part], expected[part], part)
    assert [e["train"]["loss"] for e in found["history"]] == [
        e["train"]["loss"] for e in expected["history"]
    ]

    pskd = (*RUN, "distill=pskd", "distill.alpha=0.8", "misc.checkpoint_steps=1")
    killed = make_lab("killed")
    taught.train(*pskd)
    sig = taught.signature(*pskd)
    expected = final(taught, sig)
    assert expected["history"][1]["train"]["loss"] != found["history"][1]["train"]["loss"]
    after = random.randrange(1, 11)
    print(f"killed after {after} of 12 updates")
    process = killed.start("dora", "-P", "mss", "run", *pskd, log=killed.root / "log")
    wait_for_updates(killed, sig, after, process)
    process.kill()
    process.wait()
    assert "Resuming after" in killed.train(*pskd)
    resumed = final(killed, sig)
    for part in ("model", "optim", "targets"):
        assert_equal(resumed[part], expected[part], part)
    assert_equal(resumed["best"]["state"], expected["best"]["state"], "best")
