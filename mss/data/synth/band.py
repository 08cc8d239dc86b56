"""The band: who plays on what, and how their patterns become parts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mss.core.rng import numpy_generator
from mss.data.synth import accompaniment, bass, melody
from mss.data.synth.banks import Groove
from mss.data.synth.drums import Drummer
from mss.data.synth.formants import VOWELS, Vowel
from mss.data.synth.score import STEMS, LeadSheet, Note, Part

# Standard deviation of the players' timing, seconds. The singer's own timing is in the bends.
_TIMING = {"drums": 0.003, "bass": 0.005, "comp": 0.005, "riff": 0.005, "pad": 0.0}
# How loud the shaped bright instrument is beside the sampled voice, dB.
_VOWELS_LEVEL = -1.0


@dataclass(frozen=True)
class Band:
    """A song's programs. `comp_family` is keys, organ or guitar; `bright` carries the vowels."""

    groove: Groove
    drum_kit: int
    bass: int
    comp_family: str
    comp: int
    pad: int
    riff: int
    voice: int
    bright: int


def write_parts(
    sheet: LeadSheet, band: Band, pattern_seeds: Mapping[str, int], rng: np.random.Generator
) -> tuple[Part, ...]:
    """Let every player write: patterns from the pattern seeds, levels and places from `rng`."""
    players = {stem: numpy_generator("pattern", stem, pattern_seeds[stem]) for stem in STEMS}
    other = players["other"]

    def part(
        role: str, stem: str, program: int, notes: list[Note], level: float = 0.0, spread: int = 0
    ) -> Part:
        dry = stem in ("drums", "bass")
        return Part(
            role=role,
            stem=stem,
            program=program,
            notes=_humanise(notes, sheet.beats(_TIMING[role]), players[stem]),
            level=level + float(rng.uniform(-1.5, 1.5)),
            pan=64 + int(rng.integers(-spread, spread + 1)),
            reverb=int(rng.integers(5, 35)) if dry else int(rng.integers(20, 60)),
            chorus=0 if dry else int(rng.integers(0, 30)),
        )

    drum_notes = Drummer(band.groove, players["drums"]).write(sheet)
    bass_notes = bass.write_bass(sheet, players["bass"])
    comp_notes = accompaniment.write_comp(sheet, band.comp_family, other)
    pad_notes = accompaniment.write_pad(sheet, other)
    riff_notes = accompaniment.write_riff(sheet, other)
    parts = [
        part("drums", "drums", band.drum_kit, drum_notes),
        part("bass", "bass", band.bass, bass_notes, spread=3),
        part("comp", "other", band.comp, comp_notes, spread=30),
        part("pad", "other", band.pad, pad_notes, level=-5.0, spread=12),
        part("riff", "other", band.riff, riff_notes, level=-3.0, spread=40),
        *_write_voices(sheet, band, players["vocals"], rng),
    ]
    return tuple(part for part in parts if part.notes)


def _write_voices(
    sheet: LeadSheet, band: Band, singer: np.random.Generator, rng: np.random.Generator
) -> list[Part]:
    """Return the lead, its vowels and, in most songs, a second voice in the choruses."""
    centre = int(singer.integers(61, 70))
    line = melody.write_lead(sheet, centre, singer)
    reverb = int(rng.integers(30, 70))
    # The higher the voice, the shorter the vocal tract: from a man's towards a woman's.
    tract = 1.0 + 0.17 * (centre - 61) / 8
    vowels = tuple(
        Vowel(sheet.played_seconds(note.start), str(singer.choice(VOWELS))) for note in line.notes
    )
    parts = [
        Part("lead", "vocals", band.voice, line.notes, line.controls, line.bends, reverb=reverb),
        Part("vowels", "vocals", band.bright, line.notes, line.controls, line.bends,
             level=_VOWELS_LEVEL, reverb=reverb, vowels=vowels, tract=tract),
    ]  # fmt: skip
    if rng.random() < 0.7:
        harmony = melody.write_harmony(sheet, line)
        pan = 64 + int(rng.choice([-24, 24]))
        parts.append(
            Part("harmony", "vocals", band.voice, harmony.notes, level=-6.0, pan=pan, reverb=reverb)
        )
    return parts


def _humanise(notes: list[Note], deviation: float, rng: np.random.Generator) -> tuple[Note, ...]:
    """Move every note by a normal deviate, at most 2.5 deviations (beats), never before 0."""
    shifts = np.clip(rng.normal(0.0, 1.0, size=len(notes)), -2.5, 2.5) * deviation
    return tuple(
        Note(max(note.start + float(shift), 0.0), note.length, note.pitch, note.velocity)
        for note, shift in zip(notes, shifts, strict=True)
    )
