"""Which labels of demo_large_noisy are wrong, say models that did not hear them?

The judges of grid label_noise: each trains on two thirds of the noisy songs and judges the rest.
Export the three and give them to `python -m tools.filter_noise --folds` in the order of their folds
(RESULTS.md has the commands).
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer
from grids._demo import SEEDS, bind_demo

FOLDS = 3


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    bind_demo(launcher, "demo_large_noisy")
    for fold in range(FOLDS):
        launcher({"seed": SEEDS[0], "dset.folds": FOLDS, "dset.fold": fold})
