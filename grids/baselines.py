"""How do the models at hand compare at one budget on MUSDB18-HQ?

One budget: the same songs, crops, augmentations, batches and number of updates (25 000 of 16 crops
of 6 s), hence the same 667 hours of audio; not the same time, nor the same number of parameters.
Each model trains by the optimiser and the rate that it was published with. The scores are lower
than the published ones, which took several times that.

How many GPUs a run takes is the cluster's matter (MSS_SLURM, `dora grid baselines -g 8`) and no
part of a signature: the batch is that of all ranks. A new model is a new line.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer

MODELS = {
    "hdemucs": {"optim.lr": 3e-4},
    "openunmix": {"optim.lr": 1e-3},
}


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    launcher.bind_({"variant": "none", "dset": "musdb18hq", "targets": "all", "loss": "l1"})
    launcher.bind_({"augment": "default", "optim": "adam", "schedule": "constant"})
    launcher.bind_({"distill": "none", "test": "fast"})
    launcher.bind_({"train.epochs": 100, "train.items": 4000, "train.batch_size": 16})
    launcher.bind_({"train.segment": 6, "ema.step": 0.999, "seed": 42})
    launcher.bind_({"misc.checkpoint_steps": 100})  # what a node's failure may cost
    for model, own in MODELS.items():
        launcher({"model": model}, own)
