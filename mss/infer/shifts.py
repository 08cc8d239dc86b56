"""Random shifts in time, over which estimates are averaged."""

from __future__ import annotations

import random

from mss.core.rng import derive_seed

LONGEST = 0.5
"""Seconds: the range that shifts are drawn from, as Demucs has it."""


def draw_shifts(count: int, samplerate: int, seed: int, song: str) -> tuple[int, ...]:
    """Return `count` shifts in samples, decided by the seed and the song's name alone.

    So a score does not vary from run to run, nor with the songs that were separated before.
    (mss.infer.plan.Plan says what a shift does.)
    """
    generator = random.Random(derive_seed(seed, "shifts", song))
    return tuple(generator.randrange(int(LONGEST * samplerate)) for _ in range(count))
