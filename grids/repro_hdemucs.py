"""Does our Hybrid Demucs reach the published scores on MUSDB18-HQ?

Published (arXiv 2111.03600; trained on MUSDB18-HQ alone): SDR of BSS-eval v4 on the test songs

    vocals 8.13, drums 8.24, bass 8.76, other 5.59, mean 7.68 dB

by a bag of models; a single one of 83.6 M parameters is to be expected some tenths of a dB lower.

The recipe is that of the authors' own reproduction: 48 channels, complex as channels, 8 GPUs, Adam
at 3e-4, L1, batches of 64, 600 epochs of one crop a second of the songs (about 300 updates), crops
of 10 s out of 11, two seeds. Of it these runs lack, until the parts exist here:

- the penalty on singular values (1e-5);
- pitch and tempo changes by soundstretch (p = 0.2, tempo up to 12 %);
- the choice among two averages at each level: 0.9 and 0.95 by epoch, 0.9995 and 0.9999 by update;
- fine-tuning on remixed songs of matching tempo and key, and the bag.

The best model is chosen by nSDR, theirs was by the loss.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer, preset


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    launcher.bind_({"variant": "none", "dset": "musdb18hq", "targets": "all", "model": "hdemucs"})
    launcher.bind_({"augment": "default", "loss": "l1", "optim": "adam", "schedule": "constant"})
    launcher.bind_({"distill": "none", "test": "museval"})
    launcher.bind_({"train.epochs": 600, "train.items": 19200, "train.batch_size": 64})
    launcher.bind_({"train.segment": 10, "optim.lr": 3e-4, "model.dconv_init": 1e-3})
    launcher.bind_({"ema.step": 0.9995, "ema.epoch": 0.9})
    launcher.bind_({"misc.checkpoint_steps": 100})  # what a node's failure may cost
    launcher.slurm_(**preset("a100x8"))  # the signature is the same on one GPU
    with launcher.job_array():
        for seed in (42, 43):
            launcher({"seed": seed})
