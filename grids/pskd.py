"""Does progressive self-distillation help, beyond what its controls explain?

Under a squared error PS-KD scales the gradient by 1 - alpha_t and pulls towards an earlier self
(mss/distill/progressive.py); under L1 and Adam, as here, neither is exactly so. Beside the plain
run stand

- `schedule.fade`: a rate that falls as 1 - alpha_t, alone;
- `ema.step`: the averaged weights alone, as a candidate at the validation;

and only what goes beyond both is the method's. Teachers: the last epoch's weights and their running
average; the share of the teacher at the end .3, .5 and .8 (the paper's); three seeds each.

    python -m tools.grid pskd --local --jobs 2
    python -m tools.compare ...        (RESULTS.md tells how)
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer
from grids._demo import SEEDS, bind_demo

ALPHAS = (0.3, 0.5, 0.8)
EMA = 0.97  # of the control and of the teacher alike: about the last epoch's updates


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    bind_demo(launcher)
    for seed in SEEDS:
        run = launcher.bind({"seed": seed})
        run()
        run({"ema.step": EMA})
        for alpha in ALPHAS:
            run({"schedule.fade": alpha})
        for alpha in ALPHAS:
            run({"distill": "pskd", "distill.teacher": "snapshot", "distill.alpha": alpha})
        for alpha in ALPHAS:
            taught = run.bind({"distill": "pskd", "distill.teacher": "ema"})
            taught({"distill.decay": EMA, "distill.alpha": alpha})
