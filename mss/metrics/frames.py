"""Frames of a recording as museval cuts and rates them, and the SDR of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mss.core.errors import DataError

_SPARSE = 97
"""Every so manieth sample is looked at first: a prime, to miss the zeros of a steady tone."""


@dataclass(frozen=True)
class Framing:
    """Which samples make a frame.

    Attributes:
        length: samples of the recording.
        window: samples of a frame; all of the recording where it is no longer than that.
        hop: samples from the start of a frame to the next one's.
    """

    length: int
    window: float
    hop: float

    def __post_init__(self) -> None:
        if not (self.window > 0 and self.hop > 0):
            raise DataError(f"bss_eval: window {self.window} and hop {self.hop} must be positive")

    def __len__(self) -> int:
        if self.window >= self.length:
            return 1
        return math.floor((self.length - self.window + self.hop) / self.hop)

    def __iter__(self) -> Iterator[slice]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> slice:
        """Return the samples of a frame; a fraction of a sample is cut off at either end."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.hop if index else 0  # 0 times an infinite hop is not a number
        return slice(math.floor(start), math.floor(min(start + self.window, self.length)))

    @property
    def longest(self) -> int:
        """Samples of the longest frame."""
        return min(math.ceil(self.window), self.length) if self.window < math.inf else self.length


@dataclass(frozen=True)
class FrameEnergies:
    """Energies over channels and samples, [S, frames] float64, and what is silent.

    Attributes:
        signal: of the references.
        distortion: of the differences between estimates and references.
        silent: [frames] bool; museval's rule: the channels of any reference, or of any estimate,
            sum to zero in every sample. Such a frame has no score in any source.
    """

    signal: Tensor
    distortion: Tensor
    silent: Tensor

    def sdr(self) -> Tensor:
        """Return 10 log10(|s|^2 / |e - s|^2) in dB, the SDR of BSS-eval v4, [S, frames].

        The parts of BSS-eval's decomposition other than the target add up to e - s, whatever the
        projections: it needs none of them.
        """
        return decibels(self.signal, self.distortion, self.silent)


def frame_energies(reference: Tensor, estimate: Tensor, framing: Framing) -> FrameEnergies:
    """Return the energies of each frame of references and estimates [S, C, T]."""
    # memory that all frames share: taking and giving back some for each takes three times as long
    shape = (*reference.shape[:2], framing.longest)
    kind = torch.result_type(reference, estimate)
    difference = torch.empty(shape, dtype=kind, device=reference.device)
    wide = torch.empty(shape, dtype=torch.float64, device=reference.device)
    signal, distortion, silent = [], [], []
    for span in framing:
        true, given = reference[..., span], estimate[..., span]
        here = slice(span.stop - span.start)
        signal.append(energy(wide[..., here].copy_(true)))
        # the difference of two float32 is rounded to 24 bits of its own: 1e-7 of the difference
        error = torch.sub(given, true, out=difference[..., here])
        distortion.append(energy(wide[..., here].copy_(error)))
        silent.append(any_silent(true) or any_silent(given))
    return FrameEnergies(
        torch.stack(signal, dim=-1), torch.stack(distortion, dim=-1), torch.tensor(silent)
    )


def decibels(above: Tensor, below: Tensor, silent: Tensor) -> Tensor:
    """Return 10 log10(above / below) of energies [S, frames]; NaN in silent frames.

    No distortion at all is infinity.
    """
    ratio = torch.where(below == 0, torch.inf, 10 * torch.log10(above / below))
    return ratio.masked_fill(silent.to(ratio.device), torch.nan)


def any_silent(audio: Tensor) -> bool:
    """Tell whether museval finds a source of [S, C, T] silent: its channels' sum is all zero."""
    # a few of the samples nearly always tell
    for step in (_SPARSE, 1):
        mono = audio[..., ::step].sum(dim=1, dtype=torch.float64)
        if mono.any(dim=-1).all():
            return False
    return True


def energy(audio: Tensor) -> Tensor:
    """Return the energy [S] of [S, C, T] float64."""
    norm: Tensor = torch.linalg.vector_norm(audio, dim=(1, 2))
    return norm.square()
