"""Songs in folds: each is left out by one of several models, which can judge it."""

from __future__ import annotations

from dataclasses import dataclass

from mss.core.rng import derive_seed


@dataclass(frozen=True)
class Folds:
    """A division of songs that depends on each one's name alone, not on which others there are.

    So a training and whoever judges by its model agree without telling each other anything, and an
    added song moves no other. The folds are as large as chance makes them.

    Attributes:
        count: number of folds, 2 or more.
        seed: another seed gives another division.
    """

    count: int
    seed: int = 0

    def of(self, name: str) -> int:
        """Return the fold of the song `name`, in [0, count)."""
        return derive_seed(self.seed, "fold", name) % self.count
