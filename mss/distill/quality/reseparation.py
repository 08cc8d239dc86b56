"""What a separator makes of its own estimates: separated again, alone and in a new mixture.

An estimate that is one clean source comes through a second separation as it is. One with traces of
others loses them to the others' outputs. And estimates that are mixed anew, at other levels and out
of step, should come apart again (the cycle of MixIT's and RemixIT's kind, without training).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from mss.core.rng import numpy_generator
from mss.core.types import Separate
from mss.distill.quality.ratio import Ratio, distortion
from mss.metrics.energy import energy

GAIN_DB = 6.0
"""Sources of a remix are louder or softer by up to this."""


@dataclass(frozen=True)
class Reseparation:
    """Every estimate, separated alone.

    Attributes:
        kept: SDR of what came out as source i of estimate i.
        leaked: energy of all that came out as other sources, over that of the estimate; nothing is
            known of it where a model has one source only.
    """

    kept: Ratio
    leaked: Ratio


def reseparate(separate: Separate, estimates: Tensor, core: slice) -> Reseparation:
    """Separate each of the estimates [S, C, T] alone; judge the samples `core` of what comes out.

    Args:
        separate: [C, T] -> [S, C, T], with the same normalisation as for the mixture: the estimates
            keep the level that they have in it.
    """
    rows, leaked = [], []
    for source, estimate in enumerate(estimates):
        again = separate(estimate)[..., core]  # [S, C, t]
        rows.append(again[source])
        energies = energy(again)
        leaked.append(energies.sum() - energies[source])
    inside = estimates[..., core]
    signal = energy(inside)
    # with a single source there is nowhere to leak to: 0 / 0
    below = signal if len(estimates) > 1 else torch.zeros_like(signal)
    return Reseparation(distortion(inside, torch.stack(rows)), Ratio(torch.stack(leaked), below))


@dataclass(frozen=True)
class Remix:
    """How estimates are mixed anew.

    Attributes:
        gains: of each source.
        shifts: samples by which each source is late; negative: early.
    """

    gains: tuple[float, ...]
    shifts: tuple[int, ...]


def draw_remix(sources: int, longest: int, seed: int, start: int) -> Remix:
    """Return the remix of one segment: gains within +-GAIN_DB, shifts within +-`longest` samples.

    Args:
        sources: S.
        longest: samples.
        seed: of the draws.
        start: of the segment in its recording, samples; decides the draws with the seed.
    """
    generator = numpy_generator(seed, "quality", "remix", start)
    gains = 10 ** (generator.uniform(-GAIN_DB, GAIN_DB, size=sources) / 20)
    shifts = generator.integers(-longest, longest + 1, size=sources)
    return Remix(tuple(gains.tolist()), tuple(shifts.tolist()))


def remix_cycle(separate: Separate, estimates: Tensor, remix: Remix, core: slice) -> Ratio:
    """Return the SDR with which the sources of a remix of estimates [S, C, T] are found again.

    Args:
        separate: [C, T] -> [S, C, T].
        estimates: what is mixed anew.
        remix: how. Shifts go round at the window's ends, outside of the core where that has as many
            samples before and after it.
        core: the samples that are judged.
    """
    sources = torch.stack(
        [
            gain * estimate.roll(shift, dims=-1)
            for gain, shift, estimate in zip(remix.gains, remix.shifts, estimates, strict=True)
        ]
    )
    found = separate(reduce(sources, "s c t -> c t", "sum"))
    return distortion(sources[..., core], found[..., core])
