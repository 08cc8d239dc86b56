"""A killed run, taken up again, ends with the weights of an undisturbed one."""

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
    "ema.step=0.9",
    "misc.threads=1",
    "misc.checkpoint_steps=1",
)


@pytest.mark.timeout(400)
def test_kill_9_at_a_random_step_and_another_number_of_workers(make_lab):
    undisturbed, killed = make_lab("undisturbed"), make_lab("killed")
    undisturbed.train(*RUN, "misc.workers=0")
    sig = undisturbed.signature(*RUN)
    expected = final(undisturbed, sig)

    after = random.randrange(1, 11)
    print(f"killed after {after} of 12 updates")
    log = killed.root / "log"
    process = killed.start("dora", "-P", "mss", "run", *RUN, "misc.workers=1", log=log)
    wait_for_updates(killed, sig, after, process)
    process.kill()
    process.wait()
    assert final(killed, sig)["epoch"] < 2
    text = killed.train(*RUN, "misc.workers=2")
    assert "Resuming after" in text

    resumed = final(killed, sig)
    assert resumed["epoch"] == expected["epoch"] == 2
    for part in ("model", "ema", "optim"):
        assert_equal(resumed[part], expected[part], part)
    assert_equal(resumed["best"]["state"], expected["best"]["state"], "best")
    for one, other in zip(resumed["history"], expected["history"], strict=True):
        assert one["train"]["loss"] == other["train"]["loss"]
        assert one["valid"]["nsdr"] == other["valid"]["nsdr"]
