"""The accompaniment: comping, pads and riffs."""

from dataclasses import dataclass

import numpy as np

from mss.data.synth.harmony import melody_classes, nearest_pitch, voice_lead
from mss.data.synth.score import BEATS_PER_BAR, LeadSheet, Note

COMP_RANGE = (52, 74)
PAD_RANGE = (55, 79)
RIFF_RANGE = (62, 84)


@dataclass(frozen=True)
class CompStyle:
    """One bar of comping as (start, length, voices).

    `voices` is `*` for the whole chord, `b` for its lowest note an octave down, or a digit: that
    voice of the chord, counted from below (the chord repeats in the next octave).
    """

    name: str
    families: tuple[str, ...]
    events: tuple[tuple[float, float, str], ...]
    strum: float = 0.0  # seconds between the strings


def _arpeggio(order: str, step: float) -> tuple[tuple[float, float, str], ...]:
    return tuple((i * step, step * 1.6, voice) for i, voice in enumerate(order))


STYLES: tuple[CompStyle, ...] = (
    CompStyle("quarters", ("keys",), tuple((float(i), 0.85, "*") for i in range(4))),
    CompStyle("eighths", ("keys",), tuple((0.5 * i, 0.4, "*") for i in range(8))),
    CompStyle("ballad", ("keys",), ((0, 1.9, "*"), (0, 3.5, "b"), (2, 0.9, "*"), (3, 0.45, "1"),
                                    (3.5, 0.45, "2"))),
    CompStyle("alberti", ("keys",), _arpeggio("02120212", 0.5)),
    CompStyle("rolling", ("keys", "guitar"), _arpeggio("0123431201234312", 0.25)),
    CompStyle("arpeggio", ("keys", "guitar"), _arpeggio("01232123", 0.5)),
    CompStyle("charleston", ("keys", "organ", "guitar"), ((0, 1.3, "*"), (1.5, 1.2, "*"),
                                                         (3, 0.8, "*"))),
    CompStyle("push", ("keys", "organ"), ((0, 1.3, "*"), (1.5, 1.9, "*"), (3.5, 0.45, "*"))),
    CompStyle("skank", ("organ", "guitar"), tuple((i + 0.5, 0.3, "*") for i in range(4)), 0.004),
    CompStyle("held", ("organ",), ((0, 3.8, "*"),)),
    CompStyle("bubble", ("organ",), tuple((0.5 * i, 0.25, "b" if i % 2 == 0 else "*")
                                          for i in range(8))),
    CompStyle("strum", ("guitar",), ((0, 0.9, "*"), (1, 0.45, "*"), (1.5, 0.95, "*"),
                                     (2.5, 0.45, "*"), (3, 0.45, "*"), (3.5, 0.45, "*")), 0.012),
    CompStyle("down_strokes", ("guitar",), tuple((0.5 * i, 0.42, "*") for i in range(8)), 0.006),
    CompStyle("stabs", ("keys", "guitar"), ((0, 0.4, "*"), (0.75, 0.4, "*"), (1.5, 0.9, "*"),
                                            (3, 0.4, "*"))),
)  # fmt: skip


def write_comp(sheet: LeadSheet, family: str, rng: np.random.Generator) -> list[Note]:
    """Return chords for the program family (keys, organ or guitar); verse and chorus may differ."""
    fitting = [style for style in STYLES if family in style.families]
    verse, chorus = (fitting[int(i)] for i in rng.choice(len(fitting), size=2, replace=False))
    if rng.random() < 0.4:
        chorus = verse
    notes: list[Note] = []
    voicing: tuple[int, ...] = ()
    for section in sheet.sections:
        if "comp" not in section.roles:
            continue
        style = chorus if section.name == "chorus" else verse
        for span in sheet.chords_between(section.start, section.end):
            voicing = voice_lead(span.chord, voicing, *COMP_RANGE)
            for start, length, voices in style.events:
                if start >= span.length:
                    continue
                length = min(length, span.length - start)
                velocity = float(np.clip(rng.normal(84 if start % 1 == 0 else 78, 5), 40, 120))
                notes.extend(
                    _strum(voicing, voices, span.start + start, length, velocity, style, sheet)
                )
    voicing = voice_lead(sheet.final_chord, voicing, *COMP_RANGE)
    notes.extend(_strum(voicing, "*", sheet.end, sheet.beats(1.0), 88, style, sheet))
    return notes


def _strum(
    voicing: tuple[int, ...],
    voices: str,
    start: float,
    length: float,
    velocity: float,
    style: CompStyle,
    sheet: LeadSheet,
) -> list[Note]:
    """Return the notes of one stroke, spread in time where the style is strummed."""
    if voices == "*":
        pitches = list(voicing)
    elif voices == "b":
        pitches = [voicing[0] - 12]
    else:
        octave, voice = divmod(int(voices), len(voicing))
        pitches = [voicing[voice] + 12 * octave]
    spread = sheet.beats(style.strum)
    return [
        Note(start + i * spread, max(length - i * spread, 0.1), pitch, round(velocity))
        for i, pitch in enumerate(pitches)
    ]


def write_pad(sheet: LeadSheet, rng: np.random.Generator) -> list[Note]:
    """Return held chords."""
    notes: list[Note] = []
    voicing: tuple[int, ...] = ()
    velocity = int(rng.integers(72, 88))
    for section in sheet.sections:
        if "pad" not in section.roles:
            continue
        for span in sheet.chords_between(section.start, section.end):
            voicing = voice_lead(span.chord, voicing, *PAD_RANGE)
            notes.extend(Note(span.start, span.length * 0.98, p, velocity) for p in voicing)
    voicing = voice_lead(sheet.final_chord, voicing, *PAD_RANGE)
    notes.extend(Note(sheet.end, sheet.beats(1.0), p, velocity) for p in voicing)
    return notes


_RIFF_RHYTHMS = (
    ((0, 0.5), (0.5, 0.5), (1.5, 0.5), (2, 1.0)),
    ((0, 0.75), (0.75, 0.75), (1.5, 0.5), (2.5, 0.5), (3, 0.5)),
    ((0.5, 0.5), (1, 0.5), (1.5, 1.0), (3, 0.5), (3.5, 0.5)),
    ((0, 1.0), (1.5, 0.5), (2, 0.5), (2.5, 1.0)),
    ((0, 0.25), (0.25, 0.25), (0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (3.5, 0.5)),
    ((2, 0.5), (2.5, 0.5), (3, 0.5), (3.5, 0.5)),
)


def write_riff(sheet: LeadSheet, rng: np.random.Generator) -> list[Note]:
    """Return a one-bar figure that follows the chords: the rhythm stays, the pitches move along."""
    rhythm = _RIFF_RHYTHMS[int(rng.integers(len(_RIFF_RHYTHMS)))]
    contour = np.cumsum(rng.choice([-3, -2, 2, 2, 3, -4, 5], size=len(rhythm)))
    centre = float(rng.integers(68, 78))
    notes: list[Note] = []
    for section in sheet.sections:
        if "riff" not in section.roles:
            continue
        for bar in range(section.bars):
            bar_start = section.start + bar * BEATS_PER_BAR
            for (start, length), offset in zip(rhythm, contour, strict=True):
                beat = bar_start + start
                chord = sheet.chord_at(beat)
                classes = (
                    chord.pitch_classes if start % 1 == 0 else melody_classes(sheet.key, chord)
                )
                pitch = nearest_pitch(classes, centre + float(offset), *RIFF_RANGE)
                velocity = int(np.clip(round(rng.normal(88, 5)), 40, 120))
                notes.append(Note(beat, length * 0.9, pitch, velocity))
    return notes
