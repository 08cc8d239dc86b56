"""What does label noise cost, and what do truncation and filtering give back?

The training songs of the composed data set, as they are and with stems exchanged in some of them
(`python -m tools.demo_trials label_noise` makes them; RESULTS.md has the commands): trained on the
clean ones, on the noisy ones, on the noisy ones with the truncated loss, and on what the filter
leaves of them (`python -m tools.filter_noise`). Validation and test have the same clean songs.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer
from grids._demo import SEEDS, bind_demo

QUANTILE = 0.7


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    bind_demo(launcher)
    for seed in SEEDS:
        run = launcher.bind({"seed": seed})
        run()
        noisy = run.bind({"dset": "demo_large_noisy"})
        noisy()
        noisy({"loss": "truncated", "loss.quantile": QUANTILE})
        run({"dset": "demo_large_filtered"})
