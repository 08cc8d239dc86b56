"""Does every part of the lab work together? Tiny models, two short epochs, minutes in all.

A single job, a job array of two and a job of two tasks: what a cluster must accept. As Dora counts
tasks by GPUs, the last one asks for two.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer, preset


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    # Every main axis is bound, so that a changed default can't give these runs other meanings.
    launcher.bind_({"variant": "debug", "dset": "demo_tiny", "targets": "all"})
    launcher.bind_({"augment": "default", "optim": "adam", "schedule": "constant"})
    launcher.bind_({"distill": "none", "test": "fast"})
    # An hour for minutes: where ten minutes or less are asked for, submitit takes every preemption
    # for a time-out, and ends a job at the third.
    launcher.slurm_(**preset("cpu", mem_per_gpu=4, time=60))

    launcher({"model": "openunmix_tiny", "loss": "l1"})
    with launcher.job_array():
        for loss in ("l1", "mse"):
            launcher({"model": "hdemucs_tiny", "loss": loss})
    # Two tasks share the batch, each its whole groups of four for the remix.
    pair = launcher.slurm(gpus=2)
    pair({"model": "hdemucs_tiny", "loss": "l1", "train.batch_size": 8, "train.items": 16})
