"""What a composed song is: notes, parts, chords, sections. Times are in beats (quarter notes)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mss.data.synth.formants import Vowel

STEMS = ("drums", "bass", "other", "vocals")
SAMPLERATE = 44100
BEATS_PER_BAR = 4
LEAD_IN = 0.05  # seconds of silence before the first beat
PITCH_CLASS_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class Key:
    """A tonic (pitch class, 0 is C) and a mode, `major` or `minor`."""

    tonic: int
    mode: str

    @property
    def name(self) -> str:
        return f"{PITCH_CLASS_NAMES[self.tonic]} {self.mode}"


@dataclass(frozen=True)
class Chord:
    """A root (pitch class), its intervals above it (semitones) and the degree it was written as."""

    root: int
    intervals: tuple[int, ...]
    degree: str

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + interval) % 12 for interval in self.intervals)


@dataclass(frozen=True)
class ChordSpan:
    """A chord and where it sounds."""

    start: float
    length: float
    chord: Chord


@dataclass(frozen=True)
class Section:
    """A stretch of whole bars and the roles that play in it."""

    name: str
    first_bar: int
    bars: int
    roles: frozenset[str]

    @property
    def start(self) -> float:
        return float(self.first_bar * BEATS_PER_BAR)

    @property
    def end(self) -> float:
        return float((self.first_bar + self.bars) * BEATS_PER_BAR)


def swing_beat(beat: float, swing: float) -> float:
    """Move a time within its beat so that the middle lands on (1 + swing) / 2. Monotonic.

    >>> round(swing_beat(2.5, 1 / 3), 4)
    2.6667
    """
    whole = math.floor(beat)
    place = beat - whole
    if place < 0.5:
        return whole + place * (1 + swing)
    return whole + (1 + swing) / 2 + (place - 0.5) * (1 - swing)


@dataclass(frozen=True)
class LeadSheet:
    """What every player reads: key, tempo (beats per minute), form and chords.

    `swing` moves the off-beat eighth from 1/2 of the beat to (1 + swing) / 2. `final_chord` is hit
    on the bar line after the last section.
    """

    key: Key
    tempo: int
    swing: float
    sections: tuple[Section, ...]
    chords: tuple[ChordSpan, ...]
    final_chord: Chord

    @property
    def bars(self) -> int:
        return sum(section.bars for section in self.sections)

    @property
    def end(self) -> float:
        """The bar line of the final hit, in beats."""
        return float(self.bars * BEATS_PER_BAR)

    def chords_between(self, start: float, end: float) -> tuple[ChordSpan, ...]:
        """Return the spans that begin in [start, end)."""
        return tuple(span for span in self.chords if start <= span.start < end)

    def chord_at(self, beat: float) -> Chord:
        """Return the chord that sounds at `beat`; the final chord from the final hit on."""
        for span in self.chords:
            if span.start <= beat < span.start + span.length:
                return span.chord
        return self.final_chord

    def beats(self, seconds: float) -> float:
        """Convert a duration from seconds to beats."""
        return seconds * self.tempo / 60

    def played_beat(self, beat: float) -> float:
        """Return where a written time is played: with swing and after the lead-in, in beats."""
        return self.beats(LEAD_IN) + swing_beat(beat, self.swing)

    def played_seconds(self, beat: float) -> float:
        """Return where a written time (beats) is played, in seconds."""
        return self.played_beat(beat) * 60 / self.tempo


@dataclass(frozen=True)
class Note:
    """One note: start and length in beats, MIDI pitch and velocity (1..127)."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Control:
    """A MIDI control change (number and value in 0..127) at a time in beats."""

    time: float
    number: int
    value: int


@dataclass(frozen=True)
class Bend:
    """A pitch bend in semitones within [-2, 2] at a time in beats."""

    time: float
    semitones: float


@dataclass(frozen=True)
class Part:
    """What one player plays, on which General MIDI program, and how it sits in its stem.

    Attributes:
        role: drums, bass, comp, pad, riff, lead, vowels (in unison with the lead) or harmony.
        stem: the stem that the part belongs to.
        program: General MIDI program, 0..127; for drums the kit.
        level: level in dB relative to the other parts of the same stem.
        pan: MIDI pan, 64 is the centre. reverb, chorus: MIDI send levels, 0..127.
        vowels: where given, the sound is shaped by them; `tract` is the factor on their formants.
    """

    role: str
    stem: str
    program: int
    notes: tuple[Note, ...]
    controls: tuple[Control, ...] = ()
    bends: tuple[Bend, ...] = ()
    level: float = 0.0
    pan: int = 64
    reverb: int = 30
    chorus: int = 0
    vowels: tuple[Vowel, ...] = ()
    tract: float = 1.0


@dataclass(frozen=True)
class Balance:
    """A stem's level (dB relative to the other stems) and width (gain of the side signal)."""

    level: float
    width: float


@dataclass(frozen=True)
class Song:
    """A composed song with everything needed to render it.

    Attributes:
        progressions: the degree strings used, verse then chorus.
        pattern_seeds: by stem, the seed of everything its players play.
        frames: length in samples at 44.1 kHz.
    """

    name: str
    split: str
    index: int
    sheet: LeadSheet
    progressions: tuple[str, ...]
    groove: str
    pattern_seeds: Mapping[str, int]
    parts: tuple[Part, ...]
    balance: Mapping[str, Balance]
    frames: int

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.frames, SAMPLERATE)

    def stem_parts(self, stem: str) -> tuple[Part, ...]:
        """Return the parts of one stem, in the order they were written."""
        return tuple(part for part in self.parts if part.stem == stem)
