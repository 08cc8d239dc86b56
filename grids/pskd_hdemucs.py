"""Does PS-KD help Hybrid Demucs on MUSDB18-HQ, with the settings it was published with?

The published file reports SDR 4.184 -> 4.251 dB without and 4.076 -> 4.406 dB with augmentation; it
does not do what it says (its alpha falls to nothing, and its teacher is the last batch's output,
not detached), so these gains are of something else. This is the method itself in its settings:
Hybrid Demucs with 48 channels, L1, Adam at 9e-5, batches of 8 (4, accumulated twice), 200 epochs of
11 s crops, half precision, the rate times 0.95 after two validations without a better loss, the
easiest three quarters of the songs for 30 epochs, pitch by up to 2 semitones and tempo by up to
20 %, channels swapped and polarity inverted with probability a half. Time reversal and its other
effects (p = 0.05) are not there yet.

A plateau has no `schedule.fade`, so the control of the falling rate has a cosine beside it.
"""

from dora.explore import Launcher

from grids._base import SeparationExplorer, preset

SEEDS = (42, 43, 44)


@SeparationExplorer
def explorer(launcher: Launcher) -> None:
    launcher.bind_({"variant": "none", "dset": "musdb18hq", "targets": "all", "model": "hdemucs"})
    launcher.bind_({"augment": "soundstretch", "loss": "l1", "optim": "adam", "test": "fast"})
    launcher.bind_({"distill": "none", "optim.lr": 9e-5})
    launcher.bind_({"train.epochs": 200, "train.items": 4000, "train.batch_size": 8})
    launcher.bind_({"train.segment": 11, "train.precision": "bf16", "misc.accumulate": 2})
    launcher.bind_({"augment.loader.soundstretch.max_tempo": 20})
    launcher.bind_({"misc.checkpoint_steps": 100})
    launcher.slurm_(**preset("a100x8", gpus=1))
    with launcher.job_array():
        for seed in SEEDS:
            plateau = {"schedule": "plateau", "schedule.factor": 0.95, "schedule.patience": 2}
            run = launcher.bind({"seed": seed}, plateau)
            run()
            run({"ema.step": 0.999})
            taught = run.bind({"distill": "pskd", "distill.curriculum.epochs": 30})
            for alpha in (0.0, 0.3, 0.8):  # 0: the curriculum alone
                taught({"distill.alpha": alpha})
            cosine = launcher.bind({"seed": seed, "schedule": "cosine"})
            cosine()
            cosine({"schedule.fade": 0.8})
            cosine({"distill": "pskd", "distill.alpha": 0.8})
