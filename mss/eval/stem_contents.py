"""What the stems of a data set contain, according to a separator: the leakage view of the data.

Each stem of a song is separated alone, as if it was a mixture. Sources other than its own that come
out of it are bleed or a wrong label in the data (Fabbro et al., The Sound Demixing Challenge 2023,
arXiv 2308.06979), or the separator's own error: the view says where to listen, it proves nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import reduce
from tqdm import tqdm

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.core.types import Separate, Track
from mss.metrics.energy import energy
from mss.metrics.silence import FLOOR_DB

UNEXPLAINED = "unexplained"
"""The part of a stem that the sources do not add up to."""

DEFINITION = (
    "10 log10(|e|^2 / |s|^2) dB: s a stem of a song, separated alone, e each source that comes out"
    " of it, or (unexplained) s minus all of them; energies over channels and samples of the whole"
    f" song; not below {FLOOR_DB:g} dB; a stem that is all zero is left out"
)


@dataclass(frozen=True)
class StemContents:
    """What one stem of one song contains.

    Attributes:
        track: the song's name.
        stem: of the song.
        energy: of the stem, |s|^2; 0: it is silent, and has no shares.
        shares: |e|^2 / |s|^2 of each source and of UNEXPLAINED. They need not add up to 1: two
            sources that overlap may share energy.
    """

    track: str
    stem: str
    energy: float
    shares: Mapping[str, float]

    @property
    def levels(self) -> dict[str, float]:
        """The shares in dB, not below FLOOR_DB."""
        return {part: to_db(share) for part, share in self.shares.items()}


@dataclass(frozen=True)
class ContentsRow:
    """What one stem contains over all songs in which it is not silent.

    Attributes:
        stem: of the data set.
        median: dB, the median over songs of the share; by source and UNEXPLAINED. Not defined, as
            the other is, where no song has the stem: NaN.
        pooled: dB, the share of all songs' energy together, which loud songs make up.
        songs: that count.
        silent: in which the stem is silent.
    """

    stem: str
    median: Mapping[str, float]
    pooled: Mapping[str, float]
    songs: int
    silent: int


def to_db(share: float) -> float:
    """Return a ratio of energies in dB, not below FLOOR_DB."""
    return max(FLOOR_DB, 10 * math.log10(share)) if share > 0 else FLOOR_DB


def contents_of_tracks(
    separate: Separate,
    sources: Sequence[str],
    tracks: Sequence[Track],
    progress: bool = False,
) -> tuple[StemContents, ...]:
    """Separate every stem of every song alone, and measure what comes out.

    Args:
        separate: [C, T] -> [S, C, T].
        sources: names of the S sources.
        tracks: the songs.
        progress: show a progress bar, where the standard error is a terminal.

    Raises:
        DataError: there is no song, or see contents_of_track.
    """
    if not tracks:
        raise DataError("0 tracks: there is no song to look into; check dset and test.split")
    contents: list[StemContents] = []
    for track in tqdm(tracks, desc="leakage", disable=None if progress else True):
        contents += contents_of_track(separate, sources, track)
    return tuple(contents)


@torch.no_grad()
def contents_of_track(
    separate: Separate, sources: Sequence[str], track: Track
) -> tuple[StemContents, ...]:
    """Return what each stem of one song contains, in the order of the song's stems.

    Raises:
        DataError: the separator gave a sample that is not a number, or a stem can't be read.
    """
    return tuple(_contents(separate, sources, track, stem) for stem in track.stems)


def _contents(separate: Separate, sources: Sequence[str], track: Track, stem: str) -> StemContents:
    wave = track.read(stem)  # [C, T]
    total = energy(wave).item()
    if total == 0:
        return StemContents(track.name, stem, 0.0, {})
    estimates = separate(wave)  # [S, C, T]
    assert len(estimates) == len(sources), f"{len(estimates)} estimates for {sources}"
    if not estimates.isfinite().all():
        raise DataError(
            f"{track.name}: the model gave samples of {stem!r} that are infinite or not numbers."
            " Its training has diverged, or its file is damaged"
        )
    rest = wave - reduce(estimates, "s c t -> c t", "sum")
    energies = [*energy(estimates).tolist(), energy(rest).item()]
    shares = {
        part: value / total for part, value in zip((*sources, UNEXPLAINED), energies, strict=True)
    }
    return StemContents(track.name, stem, total, shares)


def aggregate_contents(
    contents: Iterable[StemContents], stems: Sequence[str], sources: Sequence[str]
) -> tuple[ContentsRow, ...]:
    """Aggregate over songs; one row a stem, in the order of `stems`."""
    everything = list(contents)
    rows = []
    for stem in stems:
        of_stem = [found for found in everything if found.stem == stem]
        heard = [found for found in of_stem if found.energy > 0]
        total = math.fsum(found.energy for found in heard)
        median, pooled = {}, {}
        for part in (*sources, UNEXPLAINED):
            shares = [found.shares[part] for found in heard]
            together = math.fsum(found.energy * found.shares[part] for found in heard)
            median[part] = to_db(statistics.median(shares)) if heard else math.nan
            pooled[part] = to_db(together / total) if heard else math.nan
        rows.append(ContentsRow(stem, median, pooled, len(heard), len(of_stem) - len(heard)))
    return tuple(rows)


@dataclass(frozen=True)
class Finding:
    """A source that a separator finds in a stem that it does not belong to.

    Attributes:
        track: the song's name.
        stem: where it is found.
        source: what is found.
        level: dB relative to the stem.
    """

    track: str
    stem: str
    source: str
    level: float


def strongest_leaks(
    contents: Iterable[StemContents], targets: TargetMap, count: int
) -> tuple[Finding, ...]:
    """Return the `count` strongest sources that lie in a stem not their own, the strongest first.

    Args:
        contents: of the songs.
        targets: which stems make up a source, and so are its own. A source of which no stem is
            known is no leak: where the data has no guitar, "other" may hold one.
        count: how many at most.
    """
    own = {
        (stem, source)
        for source, stems in zip(targets.sources, targets.stems, strict=True)
        for stem in stems
    }
    findings = [
        Finding(found.track, found.stem, part, level)
        for found in contents
        for part, level in found.levels.items()
        if part in targets.sources and (found.stem, part) not in own
    ]
    return tuple(sorted(findings, key=lambda finding: -finding.level)[:count])
