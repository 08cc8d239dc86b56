"""Do pseudo-labels help, and does it matter which of them are chosen?

Half of the composed training songs keep their stems; a teacher trained on these labels the others
(`python -m tools.demo_trials pseudo_label` makes the data; RESULTS.md has the commands). Students
learn from the labelled songs alone, and beside them from half of the labels of each stem: the best
by a score without references, as many at random, and the truly best (an oracle, which nobody has).
Only what the score gains over chance is the score's.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer
from grids._demo import SEEDS, bind_demo

SCORE = "sdr"  # that tools.validate_score's regressor expects


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    # with half of the songs it takes more updates to be 3 dB above the best constant gain
    bind_demo(launcher, "demo_large_half", epochs=18)
    # half of a batch of four is labelled, so stems are exchanged by twos
    launcher.bind_({"augment.batch.remix.group_size": 2})
    for seed in SEEDS:
        run = launcher.bind({"seed": seed})
        run()
        taught = run.bind({"distill": "pseudo_label", "distill.songs": "demo_large_pseudo"})
        taught.bind_({"distill.root": "${cluster.derived}/demo_large_pseudo"})
        for by in (SCORE, "random", "true_sdr"):
            taught({"distill.select.by": by, "distill.select.keep": 0.5})
