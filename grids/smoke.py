"""Does every part of the lab work together? Two tiny models, two short epochs each."""

from dora.explore import Launcher

from grids._base import SeparationExplorer


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    # Every main axis is bound, so that a changed default can't give these runs other meanings.
    launcher.bind_({"variant": "debug", "dset": "demo_tiny", "targets": "all", "loss": "l1"})
    launcher.bind_({"augment": "default", "optim": "adam", "schedule": "constant"})
    launcher.bind_({"distill": "none", "test": "fast"})
    for model in ("openunmix_tiny", "hdemucs_tiny"):
        launcher({"model": model})
