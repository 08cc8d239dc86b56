"""What a separator leaves in a stem where there should be nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

FLOOR_DB = -120.0


@dataclass(frozen=True)
class Leakage:
    """Level of the estimates in the frames whose reference is all zero.

    Attributes:
        level: [S] float64, dB; NaN for a source without a silent frame.
        silent: [S] int64, silent frames of each source.
        frames: of the recording.
    """

    level: Tensor
    silent: Tensor
    frames: int


def leakage(reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int) -> Leakage:
    """Measure the leakage of estimates [S, C, T] into silent parts of references [S, C, T].

    10 log10(P_e / P_x): P_e the estimate's mean power over its silent frames, P_x that of the whole
    mixture [C, T], so that the level of the recording does not matter. Not below -120 dB. Frames
    are of one second, as BSS-eval's; a shorter recording is one frame, and samples after the last
    whole frame are not seen.
    """
    length = reference.shape[-1]
    window = min(samplerate, length)
    frames = length // window
    silent = reduce(
        reference[..., : frames * window] != 0, "s c (n w) -> s n", torch.any, w=window
    ).logical_not()
    power = reduce(
        estimate[..., : frames * window].double().square(), "s c (n w) -> s n", "mean", w=window
    )
    count = silent.sum(dim=-1)
    in_silence = torch.where(silent, power, 0).sum(dim=-1) / count  # 0 / 0: NaN
    floor = 10 ** (FLOOR_DB / 10)
    # the floor of the denominator (of full scale) only matters for a silent mixture
    relative = in_silence / mixture.double().square().mean().clamp_min(floor)
    level = 10 * torch.log10(relative.clamp_min(floor))
    return Leakage(level, count, frames)
