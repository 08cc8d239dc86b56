"""Keys, degrees, chords and voicings."""

import re
from collections.abc import Sequence

from mss.data.synth.score import Chord, Key

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
_DEGREE = re.compile(r"^(?P<accidental>[b#]?)(?P<numeral>[IViv]+)(?P<suffix>7|maj7|sus4|add9|o)?$")
_SEVENTHS = {True: (0, 4, 7, 10), False: (0, 3, 7, 10)}


def chord_of(degree: str, key: Key) -> Chord:
    """Return the chord that a degree names in a key.

    Upper case is a major triad, lower case a minor one; `b` and `#` move the root by a semitone;
    suffixes: 7, maj7, sus4, add9, o (diminished). Degrees count on the scale of the key's mode, so
    VII in a minor key lies a whole tone below the tonic.

    >>> chord_of("vi", Key(0, "major")).pitch_classes
    (9, 0, 4)
    >>> chord_of("VII", Key(9, "minor")).pitch_classes
    (7, 11, 2)
    """
    match = _DEGREE.match(degree)
    assert match is not None and match["numeral"].upper() in _NUMERALS, degree
    numeral, suffix = match["numeral"], match["suffix"]
    step = SCALES[key.mode][_NUMERALS.index(numeral.upper())]
    step += {"b": -1, "": 0, "#": 1}[match["accidental"]]
    major = numeral.isupper()
    intervals: tuple[int, ...] = (0, 4, 7) if major else (0, 3, 7)
    if suffix == "7":
        intervals = _SEVENTHS[major]
    elif suffix == "maj7":
        intervals = (0, 4, 7, 11)
    elif suffix == "sus4":
        intervals = (0, 5, 7)
    elif suffix == "add9":
        intervals = (*intervals, 14)
    elif suffix == "o":
        intervals = (0, 3, 6)
    return Chord((key.tonic + step) % 12, intervals, degree)


def canonical_loop(progression: str, mode: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return a form that is equal for progressions that are one loop of chords.

    Invariant under transposition and rotation, so I-V-vi-IV, vi-IV-I-V and the minor i-VI-III-VII
    give the same form: they sound the same chords, begun elsewhere.
    """
    chords = [chord_of(degree, Key(0, mode)) for degree in progression.split()]
    forms = []
    for turn in range(len(chords)):
        turned = chords[turn:] + chords[:turn]
        forms.append(tuple(((c.root - turned[0].root) % 12, c.intervals) for c in turned))
    return min(forms)


def melody_classes(key: Key, chord: Chord) -> tuple[int, ...]:
    """Return the pitch classes a melody may use over a chord.

    The scale's, except those a semitone from a chord tone outside the scale (over the major V of a
    minor key the raised leading tone replaces the natural seventh), and the chord's own.
    """
    scale = {(key.tonic + step) % 12 for step in SCALES[key.mode]}
    chord_tones = set(chord.pitch_classes)
    altered = chord_tones - scale
    clash = {(tone + step) % 12 for tone in altered for step in (-1, 1)}
    return tuple(sorted((scale - clash) | chord_tones))


def nearest_pitch(classes: Sequence[int], target: float, low: int, high: int) -> int:
    """Return the pitch in [low, high] of one of the pitch classes that is nearest to `target`."""
    candidates = [pitch for pitch in range(low, high + 1) if pitch % 12 in classes]
    assert candidates, (classes, low, high)
    return min(candidates, key=lambda pitch: (abs(pitch - target), pitch))


def voice_lead(chord: Chord, previous: Sequence[int], low: int, high: int) -> tuple[int, ...]:
    """Return a close voicing within [low, high] that moves least from the previous voicing.

    Args:
        previous: pitches of the last voicing, empty at the beginning (then the voicing lies in the
            middle of the range).
    """
    classes = sorted({pitch % 12 for pitch in chord.pitch_classes})
    best: tuple[float, tuple[int, ...]] | None = None
    centre = sum(previous) / len(previous) if previous else (low + high) / 2
    for bottom in range(low, high - 6):
        if bottom % 12 not in classes:
            continue
        voicing = sorted(bottom + (tone - bottom) % 12 for tone in classes)
        if voicing[-1] > high:
            continue
        move = abs(sum(voicing) / len(voicing) - centre)
        # The middle of the range pulls weakly, so that long songs do not drift to an edge.
        cost = move + 0.15 * abs(sum(voicing) / len(voicing) - (low + high) / 2)
        if best is None or cost < best[0]:
            best = (cost, tuple(voicing))
    assert best is not None, (chord, low, high)
    return best[1]
