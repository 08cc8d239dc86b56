"""The bass player: one-bar styles over the chord roots, with approach notes into the next chord."""

from dataclasses import dataclass

import numpy as np

from mss.data.synth.harmony import SCALES, nearest_pitch
from mss.data.synth.score import BEATS_PER_BAR, Chord, LeadSheet, Note

LOWEST, HIGHEST = 28, 50  # E1, the open low string, to D3
ROOT_TOP = 40


@dataclass(frozen=True)
class BassStyle:
    """One bar as (start, length, degree): R root, 3 third, 5 fifth, 8 octave, A approach."""

    name: str
    events: tuple[tuple[float, float, str], ...]


STYLES: tuple[BassStyle, ...] = (
    BassStyle("eighths", (*((0.5 * i, 0.45, "R") for i in range(7)), (3.5, 0.45, "A"))),
    BassStyle("root_fifth", ((0, 1.4, "R"), (1.5, 0.45, "R"), (2, 1.4, "5"), (3.5, 0.45, "A"))),
    BassStyle("octaves", tuple((0.5 * i, 0.42, "R8"[i % 2]) for i in range(8))),
    BassStyle("syncopated", ((0, 0.7, "R"), (0.75, 0.25, "R"), (1.5, 0.9, "R"), (2.5, 0.45, "5"),
                             (3, 0.45, "8"), (3.5, 0.45, "A"))),
    BassStyle("walking", ((0, 0.9, "R"), (1, 0.9, "3"), (2, 0.9, "5"), (3, 0.9, "A"))),
    BassStyle("held", ((0, 2.9, "R"), (3, 0.45, "R"), (3.5, 0.45, "A"))),
    BassStyle("dotted", ((0, 1.45, "R"), (1.5, 1.45, "R"), (3, 0.9, "5"))),
    BassStyle("funk", ((0, 0.45, "R"), (0.75, 0.2, "8"), (1.5, 0.2, "R"), (1.75, 0.2, "R"),
                       (2.5, 0.4, "5"), (3, 0.2, "8"), (3.25, 0.2, "R"), (3.5, 0.4, "A"))),
    BassStyle("motown", ((0, 0.9, "R"), (1, 0.45, "5"), (1.5, 0.45, "8"), (2, 0.45, "R"),
                         (2.75, 0.2, "5"), (3, 0.45, "3"), (3.5, 0.45, "A"))),
    BassStyle("tresillo", ((0, 0.7, "R"), (0.75, 0.7, "R"), (1.5, 0.45, "5"), (2, 0.7, "R"),
                           (2.75, 0.7, "R"), (3.5, 0.45, "8"))),
)  # fmt: skip


def _root_pitch(chord: Chord, near: int) -> int:
    return nearest_pitch((chord.root,), near, LOWEST, ROOT_TOP)


def _degree_pitch(degree: str, chord: Chord, root: int, next_root: int, sheet: LeadSheet) -> int:
    """Return the pitch of a style's degree over a chord whose root sounds at `root`."""
    if degree == "R":
        return root
    if degree == "8":
        return min(root + 12, HIGHEST)
    if degree == "3":
        return root + chord.intervals[1]
    if degree == "5":
        return root + chord.intervals[2]
    # Approach: the scale step nearest to the next root, from the side that the line comes from.
    if next_root == root:
        return root + chord.intervals[2] if root + 7 <= HIGHEST else root
    scale = tuple((sheet.key.tonic + step) % 12 for step in SCALES[sheet.key.mode])
    side = -1.5 if next_root > root else 1.5
    allowed = tuple(step for step in scale if step != next_root % 12)
    return nearest_pitch(allowed, next_root + side, LOWEST, HIGHEST)


def write_bass(sheet: LeadSheet, rng: np.random.Generator) -> list[Note]:
    """Return the bass line: one style for the verses, one for the choruses."""
    verse, chorus = (STYLES[int(i)] for i in rng.choice(len(STYLES), size=2, replace=False))
    spans = sheet.chords
    roots: list[int] = []
    for span in spans:
        roots.append(_root_pitch(span.chord, near=roots[-1] if roots else 34))
    final = _root_pitch(sheet.final_chord, near=roots[-1])

    notes: list[Note] = []
    for section in sheet.sections:
        if "bass" not in section.roles:
            continue
        style = chorus if section.name == "chorus" else verse
        for number, span in enumerate(spans):
            if not section.start <= span.start < section.end:
                continue
            next_root = roots[number + 1] if number + 1 < len(roots) else final
            for start, length, degree in style.events:
                # A chord of half a bar takes half of the pattern, and its last note leads on.
                if start >= span.length:
                    continue
                leads = start + 1 > span.length and span.length < BEATS_PER_BAR
                pitch = _degree_pitch(
                    "A" if leads else degree, span.chord, roots[number], next_root, sheet
                )
                accent = 8 if start == 0 else 0
                velocity = int(np.clip(round(rng.normal(94 + accent, 4)), 40, 127))
                notes.append(Note(span.start + start, length, pitch, velocity))
    notes.append(Note(sheet.end, sheet.beats(1.0), final, 100))
    return notes
