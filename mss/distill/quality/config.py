"""How reference-free scores are taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mss.core.errors import ConfigError, nearest_name_hint
from mss.distill.quality.scores import AGREEMENT, SCORES

LEAST_SHIFTS = 4
LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class QualityConfig:
    """How scores are taken.

    Attributes:
        scores: which ones, names of SCORES. Each separation of a segment costs as much as the
            estimate did: AGREEMENT takes shifts + 2 of them, RESEPARATION and LEAKAGE together one
            a source, REMIX one, MODEL_AGREEMENT one of the other model.
        segment: seconds of one segment; None: the whole recording is one, in memory.
        context: seconds before and after a segment that are separated with it and not judged.
        shifts: shifts in time of AGREEMENT, at least 4.
        longest_shift: seconds.
        seed: of the shifts and of the remix.

    Raises:
        ConfigError: a value makes no sense.
    """

    scores: tuple[str, ...] = tuple(SCORES)
    segment: float | None = 6.0
    context: float = 1.0
    shifts: int = LEAST_SHIFTS
    longest_shift: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.scores:
            if name not in SCORES:
                raise ConfigError(f"scores: there is no {name!r}.{nearest_name_hint(name, SCORES)}")
        if not self.scores:
            raise ConfigError(f"scores: none is asked for; give some of {', '.join(SCORES)}")
        if self.segment is not None and not LEAST_SECONDS <= self.segment < math.inf:
            raise ConfigError(
                f"segment: can't judge by {self.segment:g} s; give {LEAST_SECONDS:g} s or more"
            )
        for key in ("context", "longest_shift"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ConfigError(f"{key}: {getattr(self, key):g} s; give 0 or more")
        if self.shifts < LEAST_SHIFTS:
            raise ConfigError(
                f"shifts: {self.shifts} tell too little of how far estimates agree; give at least"
                f" {LEAST_SHIFTS}, or leave {AGREEMENT} out of the scores"
            )
