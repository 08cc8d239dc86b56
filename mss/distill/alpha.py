"""How far a progressive teacher is believed: a pure function of the epoch."""

from __future__ import annotations

from dataclasses import dataclass

from mss.core.errors import ConfigError


@dataclass(frozen=True)
class AlphaRamp:
    """The share alpha_t of the teacher in the target (Kim et al., ICCV 2021, equation 6):

        alpha_t = alpha (t + 1) / T,  t = 0 .. T - 1

    from epoch `warmup` on, and 0 before. The first epoch has none in any case: nobody has been
    taught yet who could teach.

    Attributes:
        alpha: its last value, in [0, 1).
        warmup: epochs without a teacher.
    """

    alpha: float = 0.8
    warmup: int = 1

    def check(self, where: str) -> None:
        """Raise a ConfigError that names `where` if a value makes no sense."""
        if not 0 <= self.alpha < 1:
            raise ConfigError(
                f"{where}.alpha: {self.alpha} is not in [0, 1); at 1 nothing of the reference is "
                "left at the end"
            )
        if self.warmup < 1:
            raise ConfigError(f"{where}.warmup: {self.warmup}; the first epoch has no teacher yet")

    def at(self, epoch: int, epochs: int) -> float:
        """Return alpha of `epoch` (from 0) of `epochs`."""
        return 0.0 if epoch < self.warmup else self.alpha * (epoch + 1) / epochs
