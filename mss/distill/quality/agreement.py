"""How far estimates agree that should be the same: of one model under harmless changes, of two.

A separator that knows what it hears gives the same sources for a mixture that starts a little
earlier, has its channels swapped or its polarity turned. Agreement is necessary for a good
estimate, and not sufficient: an error that is made every time agrees with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from mss.core.rng import numpy_generator
from mss.core.types import Separate
from mss.distill.quality.ratio import Ratio
from mss.metrics.energy import energy


@dataclass(frozen=True)
class Variant:
    """A change of the mixture that can be taken back from the estimates.

    Attributes:
        shift: samples by which the mixture starts earlier.
        swap: left and right change places.
        negate: the polarity is turned.
    """

    shift: int = 0
    swap: bool = False
    negate: bool = False


def draw_variants(
    shifts: int, longest: int, channels: int, seed: int, start: int
) -> tuple[Variant, ...]:
    """Return the variants of one segment: `shifts` in time, polarity, and in stereo the swap.

    Args:
        shifts: how many.
        longest: samples; each shift is from 1 to this, where it is not 0.
        channels: of the recording.
        seed: of the draws.
        start: of the segment in its recording, samples; decides the draws with the seed.
    """
    generator = numpy_generator(seed, "quality", "shifts", start)
    drawn = generator.integers(1, longest + 1, size=shifts) if longest else [0] * shifts
    variants = [Variant(shift=int(shift)) for shift in drawn]
    variants.append(Variant(negate=True))
    if channels == 2:
        variants.append(Variant(swap=True))
    return tuple(variants)


def separate_variant(separate: Separate, window: Tensor, before: int, variant: Variant) -> Tensor:
    """Separate a changed mixture and take the change back.

    Args:
        separate: [C, T] -> [S, C, T].
        window: [C, before + T] of a recording.
        before: samples of the window that only shifts hear; at least `variant.shift`.
        variant: the change.

    Returns:
        [S, C, T].
    """
    assert 0 <= variant.shift <= before, (variant, before)
    changed = window[:, before - variant.shift :]
    if variant.swap:
        changed = changed.flip(0)
    if variant.negate:
        changed = -changed
    estimates = separate(changed)[..., variant.shift :]
    if variant.swap:
        estimates = estimates.flip(1)
    return -estimates if variant.negate else estimates


def agreement(estimates: Sequence[Tensor]) -> Ratio:
    """Return |m|^2 over the mean of |e_v - m|^2: m the mean of V >= 2 estimates e_v [S, C, T].

    In dB it is the SDR of the estimates against their mean, with the errors of all V averaged as
    energies.
    """
    assert len(estimates) >= 2
    stacked = torch.stack(list(estimates))  # [V, S, C, T]
    mean = reduce(stacked.double(), "v s c t -> s c t", "mean")
    errors = torch.stack([energy(estimate.double() - mean) for estimate in stacked])
    return Ratio(energy(mean), reduce(errors, "v s -> s", "mean"))
