"""What a separator finds in a stem that it is given alone: the evidence for a wrong label."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.types import Separate, Track
from mss.distill.disguise import Disguise
from mss.metrics.energy import energy

LIMIT_DB = 120.0
"""Margins are within +- this: beyond it there is nothing but rounding."""


@dataclass(frozen=True)
class StemJudge:
    """A separator that judges stems.

    Attributes:
        name: for messages.
        digest: of all that decides its estimates.
        sources: that it gives, in their order.
        separate: [C, T] -> [S, C, T], at the songs' sample rate.
    """

    name: str
    digest: str
    sources: tuple[str, ...]
    separate: Separate

    def check_stems(self, stems: tuple[str, ...]) -> None:
        """Make sure that it knows every stem.

        Raises:
            ConfigError: a stem is none of its sources, or it gives one source only.
        """
        for stem in stems:
            if stem not in self.sources:
                hint = nearest_name_hint(stem, self.sources)
                raise ConfigError(
                    f"{self.name}: gives no source {stem!r}, so it can't judge these stems.{hint}"
                    " Name the stems to judge by --stems"
                )
        if len(self.sources) < 2:
            raise ConfigError(
                f"{self.name}: gives {self.sources[0]} alone; a judge compares two or more sources"
            )


@dataclass(frozen=True)
class StemEnergies:
    """Energies, summed over channels and samples of a whole stem and of what came out of it.

    Attributes:
        level_db: of the stem as it was recorded: RMS in dB of full scale; -LIMIT_DB where silent.
        disguised: of the stem in its disguise, as the separator got it.
        outputs: of each source that came out.
        residual: of what the stem's own source leaves of it.
    """

    level_db: float
    disguised: float
    outputs: Mapping[str, float]
    residual: float

    def loudest_other(self, stem: str) -> str:
        """Return the source that is loudest beside the stem's own."""
        others = {source: value for source, value in self.outputs.items() if source != stem}
        return max(others, key=others.__getitem__)

    def swap_margin(self, stem: str) -> float:
        """Return by how much the stem's own output exceeds the loudest other, in dB."""
        return self._ratio_db(self.outputs[stem], self.outputs[self.loudest_other(stem)])

    def bleed_margin(self, stem: str) -> float:
        """Return by how much the stem's own output exceeds what it leaves of the stem, in dB."""
        return self._ratio_db(self.outputs[stem], self.residual)

    def _ratio_db(self, own: float, other: float) -> float:
        """Return a ratio in dB within +- LIMIT_DB; 0 where neither is there."""
        floor = self.disguised * 10 ** (-LIMIT_DB / 10)
        if floor == 0:
            return 0.0
        decibels = 10 * math.log10((own + floor) / (other + floor))
        return min(LIMIT_DB, max(-LIMIT_DB, decibels))


@torch.no_grad()
def measure_stem(
    judge: StemJudge, disguise: Disguise, track: Track, stem: str, window: float, silence_db: float
) -> StemEnergies:
    """Separate a stem alone, in its disguise, and measure what comes out.

    A window is disguised and separated by itself, so memory does not grow with the song.

    Args:
        judge: the separator.
        disguise: what it gets the stem in.
        track: the song.
        stem: one of its stems; one of the judge's sources.
        window: seconds of the song that are separated at once, at most.
        silence_db: below this level (RMS, dB of full scale) nothing is separated: all energies of
            such a stem are 0.

    Raises:
        DataError: the file can't be read, or it or the separator gave samples that are no numbers.
    """
    level_db = _level_db(track, stem, window)
    outputs = torch.zeros(len(judge.sources), dtype=torch.float64)
    disguised = residual = 0.0
    for start, frames in _windows(track, window) if level_db >= silence_db else ():
        recorded = track.read(stem, start, frames)
        if not recorded.any():
            continue
        wave = disguise(recorded, track.samplerate)  # [C, T']
        estimates = judge.separate(wave)  # [S, C, T']
        if not estimates.isfinite().all():
            raise DataError(
                f"{track.name}: {judge.name} gave samples of {stem!r} that are infinite or not"
                " numbers. Its training has diverged, or its file is damaged"
            )
        outputs += energy(estimates).cpu()
        disguised += energy(wave).item()
        residual += energy(wave - estimates[judge.sources.index(stem)].to(wave)).item()
    energies = dict(zip(judge.sources, outputs.tolist(), strict=True))
    return StemEnergies(level_db, disguised, energies, residual)


def _windows(track: Track, window: float) -> Iterator[tuple[int, int]]:
    """Yield (first sample, samples) of windows as equal as can be, of `window` seconds at most."""
    count = max(1, math.ceil(track.length / (window * track.samplerate)))
    bounds = [track.length * index // count for index in range(count + 1)]
    for start, end in itertools.pairwise(bounds):
        yield start, end - start


def _level_db(track: Track, stem: str, window: float) -> float:
    total = sum(
        energy(track.read(stem, start, frames)).item() for start, frames in _windows(track, window)
    )
    if not math.isfinite(total):  # one sample is enough; comparing it with 0 would say: silent
        raise DataError(
            f"{track.name}: {stem!r} has samples that are infinite or not numbers; render it again"
            " (`python -m tools.check_data ROOT` names the file and the sample)"
        )
    mean = total / max(1, track.length * track.channels)
    return max(-LIMIT_DB, 10 * math.log10(mean)) if mean > 0 else -LIMIT_DB
