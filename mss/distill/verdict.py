"""From what was measured of stems to a verdict on each, and a manifest of the songs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mss.core.errors import ConfigError
from mss.data.noise_manifest import SongLabel, stem_notes
from mss.distill.filtering import SongEnergies
from mss.distill.stem_energies import StemEnergies

NoiseSought = Literal["swaps", "bleed"]

DEFAULT_MARGIN_DB: Mapping[str, float] = {"swaps": 20.0, "bleed": 10.0}
"""As published: for a strong separator. A weak one asks for `keep`."""


@dataclass(frozen=True)
class Criterion:
    """When a stem is kept.

    Attributes:
        noise: "swaps": the stem's own output exceeds the loudest other one; "bleed": it exceeds
            what it leaves of the stem.
        margin_db: by more than this; None: as DEFAULT_MARGIN_DB says.
        keep: instead of a margin, the share of the songs that are to be clean: those whose worst
            stem has the largest margin, each relative to the median of the stems of its name.
    """

    noise: NoiseSought = "swaps"
    margin_db: float | None = None
    keep: float | None = None

    def __post_init__(self) -> None:
        if self.margin_db is not None and self.keep is not None:
            raise ConfigError("--margin, --keep: one says what the other is to find; give one")
        if self.margin_db is not None and not math.isfinite(self.margin_db):
            raise ConfigError(f"--margin: {self.margin_db} is no number of decibels")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"--keep: {self.keep} is no share in (0, 1]")

    def margin(self, energies: StemEnergies, stem: str) -> float:
        """Return the margin that is asked about, in dB."""
        if self.noise == "swaps":
            return energies.swap_margin(stem)
        return energies.bleed_margin(stem)


@dataclass(frozen=True)
class StemVerdict:
    """What became of a stem.

    Attributes:
        margin_db: see Criterion; None: the stem is silent, so there is nothing to judge.
        relative_db: the margin relative to the median of the stems of its name.
        kept: whether it is taken for what its name says; a silent one is neither kept nor thrown
            out.
        note: what is wrong with it, in words.
    """

    margin_db: float | None
    relative_db: float | None
    kept: bool | None
    note: str


@dataclass(frozen=True)
class Verdicts:
    """What became of a data set.

    Attributes:
        stems: of each song, by name.
        thresholds: margins at which stems are cut off, by name (dB).
    """

    stems: Mapping[str, Mapping[str, StemVerdict]]
    thresholds: Mapping[str, float]

    def is_clean(self, song: str) -> bool:
        """Whether none of a song's stems is thrown out, and one at least is heard."""
        kept = [verdict.kept for verdict in self.stems[song].values()]
        return False not in kept and True in kept

    def labels(self) -> dict[str, SongLabel]:
        """Return the rows of a manifest; its notes name stems that are thrown out or silent."""
        rows = {}
        for song, verdicts in self.stems.items():
            notes = {stem: found.note for stem, found in verdicts.items() if not found.kept}
            rows[song] = SongLabel(self.is_clean(song), stem_notes(notes))
        return rows


def judge_songs(
    songs: Mapping[str, SongEnergies], criterion: Criterion, silence_db: float
) -> Verdicts:
    """Return the verdict on every stem.

    Args:
        songs: what was measured.
        criterion: when a stem is kept.
        silence_db: below this level (RMS, dB of full scale) a stem is silent.
    """
    margins: dict[str, dict[str, float]] = {song: {} for song in songs}
    for song, found in songs.items():
        for stem, energies in found.stems.items():
            if energies.level_db >= silence_db:
                margins[song][stem] = criterion.margin(energies, stem)
    cut = _Cut.of(margins, criterion)
    verdicts = {
        song: {
            stem: _verdict(stem, energies, margins[song].get(stem), cut, criterion)
            for stem, energies in found.stems.items()
        }
        for song, found in songs.items()
    }
    return Verdicts(verdicts, {stem: cut.threshold(stem) for stem in cut.medians})


@dataclass(frozen=True)
class _Cut:
    """Where stems that are kept are cut from the others.

    Attributes:
        medians: of the margins of the stems of each name.
        margin_db: has to be exceeded; None: `least_db` decides.
        least_db: a stem is kept from this margin relative to the median on.
    """

    medians: Mapping[str, float]
    margin_db: float | None
    least_db: float

    @classmethod
    def of(cls, margins: Mapping[str, Mapping[str, float]], criterion: Criterion) -> _Cut:
        """Return the cut that a criterion makes among margins of stems, by song."""
        of_stem: dict[str, list[float]] = {}
        for of_song in margins.values():
            for stem, margin in of_song.items():
                of_stem.setdefault(stem, []).append(margin)
        medians = {stem: statistics.median(found) for stem, found in of_stem.items()}
        if criterion.keep is None:
            asked = criterion.margin_db
            published = DEFAULT_MARGIN_DB[criterion.noise]
            return cls(medians, published if asked is None else asked, 0.0)
        worst = sorted(
            (
                min(margin - medians[stem] for stem, margin in of_song.items())
                for of_song in margins.values()
                if of_song
            ),
            reverse=True,
        )
        kept = max(1, round(criterion.keep * len(worst)))
        return cls(medians, None, worst[kept - 1] if worst else 0.0)

    def threshold(self, stem: str) -> float:
        """Return the margin of the cut, for the stems of a name, in dB."""
        return self.medians[stem] + self.least_db if self.margin_db is None else self.margin_db

    def keeps(self, stem: str, margin: float) -> bool:
        """Whether a stem with this margin is kept."""
        if self.margin_db is None:
            return margin - self.medians[stem] >= self.least_db
        return margin > self.margin_db


def _verdict(
    stem: str, energies: StemEnergies, margin: float | None, cut: _Cut, criterion: Criterion
) -> StemVerdict:
    if margin is None:
        return StemVerdict(None, None, None, "silent")
    against = energies.loudest_other(stem) if criterion.noise == "swaps" else "the rest of it"
    return StemVerdict(
        margin,
        margin - cut.medians[stem],
        cut.keeps(stem, margin),
        f"{margin:+.1f} dB against {against}",
    )
