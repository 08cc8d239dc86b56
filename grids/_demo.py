"""What the grids on `dset=demo_large` have in common: a run of some minutes on one CPU core."""

from __future__ import annotations

from dora.explore import Launcher

SEEDS = (42, 43, 44)


def bind_demo(launcher: Launcher, dset: str = "demo_large") -> None:
    """Bind every main axis: a small Open-Unmix on the composed songs."""
    launcher.bind_({"variant": "demo", "dset": dset, "targets": "all"})
    launcher.bind_({"model": "openunmix_tiny", "augment": "default", "loss": "l1"})
    launcher.bind_({"optim": "adam", "schedule": "cosine", "distill": "none", "test": "fast"})
    launcher.bind_({"ema.step": 0.0, "valid.every": 5})
