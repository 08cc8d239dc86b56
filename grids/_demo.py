"""What the grids on `dset=demo_large` have in common: a run of some minutes on one CPU core."""

from __future__ import annotations

from dora.explore import Launcher

SEEDS = (42, 43, 44)


def bind_demo(launcher: Launcher, dset: str = "demo_large", epochs: int = 12) -> None:
    """Bind every main axis: a small Open-Unmix on the composed songs, 60 updates an epoch."""
    launcher.bind_({"variant": "demo", "dset": dset, "targets": "all"})
    launcher.bind_({"model": "openunmix_tiny", "augment": "default", "loss": "l1"})
    launcher.bind_({"optim": "adam", "schedule": "cosine", "distill": "none", "test": "fast"})
    # 12 epochs of 4 x 2 s: about four minutes of one core, and 3 dB above the best constant gain
    launcher.bind_({"train.epochs": epochs, "train.items": 240, "train.batch_size": 4})
    launcher.bind_({"train.segment": 2, "ema.step": 0.0, "valid.every": 6})
