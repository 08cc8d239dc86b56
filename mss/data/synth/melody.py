"""The singer: phrases with rests, motifs that come back, scoops, glides and vibrato."""

from dataclasses import dataclass

import numpy as np

from mss.data.synth.harmony import melody_classes, nearest_pitch
from mss.data.synth.score import BEATS_PER_BAR, Bend, Control, LeadSheet, Note, Section

MODULATION, EXPRESSION = 1, 11
PHRASE_BARS = 2

# Two bars each, as (start, length) in beats: sung for most of it, then a breath.
_PHRASES = (
    ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1.5),
     (4.5, 0.5), (5, 0.5), (5.5, 1.5)),
    ((0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 1.5),
     (5, 0.5), (5.5, 0.5), (6, 1)),
    ((0, 1.5), (1.5, 0.5), (2, 1), (3, 1), (4, 1.5), (5.5, 0.5),
     (6, 1.25)),
    ((0, 0.75), (0.75, 0.75), (1.5, 1), (2.5, 0.5), (3, 0.5), (3.5, 0.5),
     (4, 0.75), (4.75, 0.75), (5.5, 1.75)),
    ((0, 2), (2, 1), (3, 1), (4, 3)),
    ((0, 1), (1, 0.5), (1.5, 1.5), (3, 0.5), (3.5, 0.5), (4, 1),
     (5, 1), (6, 1.5)),
    ((0, 0.5), (0.5, 0.25), (0.75, 0.75), (1.5, 0.5), (2, 0.5), (2.5, 0.25),
     (2.75, 0.75), (3.5, 1), (4.5, 0.5), (5, 0.5), (5.5, 0.5), (6, 1.25)),
)  # fmt: skip
_CHORUS_PHRASES = (2, 4, 5, 0)
_FORMS = ("AABA", "ABAB", "AABB", "ABAC")


@dataclass(frozen=True)
class SungLine:
    """Notes with the singer's bends and controls."""

    notes: tuple[Note, ...]
    bends: tuple[Bend, ...]
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class _Motif:
    """A rhythm and a contour (semitones around the tessitura's middle) that a section repeats."""

    rhythm: tuple[tuple[float, float], ...]
    contour: tuple[float, ...]


def _motif(rng: np.random.Generator, chorus: bool) -> _Motif:
    """Draw a rhythm, and a contour that rises to a peak and falls, with small steps around it."""
    numbers = _CHORUS_PHRASES if chorus else tuple(range(len(_PHRASES)))
    rhythm = _PHRASES[int(rng.choice(numbers))]
    place = np.linspace(0, 1, len(rhythm))
    peak = rng.uniform(0.25, 0.75)
    arch = np.where(place < peak, place / peak, (1 - place) / (1 - peak))
    wander = np.cumsum(rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0], size=len(rhythm)))
    wander -= wander.mean()
    height = rng.uniform(3, 7) * rng.choice([1, 1, 1, -1])
    contour = height * (arch - 0.5) + 0.8 * wander
    return _Motif(rhythm, tuple(float(value) for value in contour))


def write_lead(sheet: LeadSheet, centre: int, rng: np.random.Generator) -> SungLine:
    """Return the melody.

    Args:
        centre: middle of the singer's comfortable range (MIDI pitch); choruses lie 3 semitones
            above.
    """
    notes: list[Note] = []
    motifs: dict[tuple[bool, str], _Motif] = {}
    form = str(rng.choice(_FORMS))
    for section in sheet.sections:
        if "lead" not in section.roles:
            continue
        chorus = section.name == "chorus"
        for number in range(-(-section.bars // PHRASE_BARS)):
            letter = form[number % len(form)]
            if (chorus, letter) not in motifs:
                motifs[chorus, letter] = _motif(rng, chorus)
            start = section.start + number * PHRASE_BARS * BEATS_PER_BAR
            height = centre + (3 if chorus else 0)
            notes.extend(_phrase(sheet, section, start, motifs[chorus, letter], height, rng))
    notes.append(_final_note(sheet, notes, centre))
    return _sing(sheet, notes, rng)


def _phrase(
    sheet: LeadSheet,
    section: Section,
    start: float,
    motif: _Motif,
    centre: float,
    rng: np.random.Generator,
) -> list[Note]:
    """Set a motif at `start`: chord tones on the beat and on long notes, scale tones elsewhere."""
    low, high = int(centre) - 9, int(centre) + 9
    notes: list[Note] = []
    for (offset, length), height in zip(motif.rhythm, motif.contour, strict=True):
        beat = start + offset
        if beat >= section.end - 0.25:
            break
        chord = sheet.chord_at(beat)
        strong = offset % 1 == 0 or length >= 1
        classes = chord.pitch_classes if strong else melody_classes(sheet.key, chord)
        pitch = nearest_pitch(classes, centre + height, low, high)
        length = min(length * 0.97, section.end - beat)
        velocity = int(np.clip(round(rng.normal(98, 4)), 60, 120))
        notes.append(Note(beat, length, pitch, velocity))
    return notes


def _final_note(sheet: LeadSheet, notes: list[Note], centre: int) -> Note:
    near = notes[-1].pitch if notes else centre
    pitch = nearest_pitch(sheet.final_chord.pitch_classes, near, centre - 9, centre + 9)
    return Note(sheet.end, sheet.beats(0.9), pitch, 96)


def _sing(sheet: LeadSheet, notes: list[Note], rng: np.random.Generator) -> SungLine:
    """Add scoops and glides (bends), delayed vibrato (modulation) and swells (expression)."""
    bends: list[Bend] = []
    controls: list[Control] = []
    previous: Note | None = None
    for note in notes:
        connected = previous is not None and note.start - (previous.start + previous.length) < 0.1
        interval = previous.pitch - note.pitch if previous is not None and connected else 0
        if connected and 0 < abs(interval) <= 2 and rng.random() < 0.6:
            bends.extend(_glide(note.start, float(interval), sheet.beats(0.07)))
        elif not connected and rng.random() < 0.6:
            bends.extend(_glide(note.start, -float(rng.uniform(0.4, 1.2)), sheet.beats(0.12)))
        controls.append(Control(note.start, MODULATION, 0))
        seconds = note.length * 60 / sheet.tempo
        if seconds > 0.4:
            depth = int(rng.integers(40, 80))
            for step in range(1, 4):
                time = note.start + sheet.beats(0.18 + 0.08 * step)
                controls.append(Control(time, MODULATION, depth * step // 3))
            for step, value in enumerate((100, 112, 122, 116, 104)):
                controls.append(Control(note.start + note.length * step / 5, EXPRESSION, value))
        else:
            controls.append(Control(note.start, EXPRESSION, int(rng.integers(104, 118))))
        previous = note
    return SungLine(tuple(notes), tuple(bends), tuple(controls))


def _glide(start: float, semitones: float, length: float) -> list[Bend]:
    """Return bends that lead from an offset to the note's own pitch within `length` beats."""
    steps = 6
    return [
        Bend(start + length * i / steps, semitones * (1 - i / steps) ** 2) for i in range(steps + 1)
    ]


def write_harmony(sheet: LeadSheet, lead: SungLine) -> SungLine:
    """Return a second voice a third or a fourth below the lead's chorus notes, on chord tones."""
    notes: list[Note] = []
    for section in sheet.sections:
        if "harmony" not in section.roles:
            continue
        for note in lead.notes:
            if not section.start <= note.start < section.end or note.length < 0.45:
                continue
            classes = sheet.chord_at(note.start).pitch_classes
            pitch = nearest_pitch(classes, note.pitch - 4, note.pitch - 9, note.pitch - 2)
            notes.append(Note(note.start, note.length, pitch, max(note.velocity - 12, 40)))
    return SungLine(tuple(notes), (), ())
