"""The seeded composer: a song is decided by (seed, split, index, seconds) alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mss.core.rng import numpy_generator
from mss.data.synth import banks
from mss.data.synth.band import Band, write_parts
from mss.data.synth.harmony import chord_of
from mss.data.synth.score import (
    BEATS_PER_BAR,
    LEAD_IN,
    SAMPLERATE,
    STEMS,
    Balance,
    Chord,
    ChordSpan,
    Key,
    LeadSheet,
    Section,
    Song,
)

Choice = TypeVar("Choice")

# Raise it whenever the same seed gives other notes or other audio: it is part of the cache's name.
COMPOSER_VERSION = 3

RING = 1.2  # seconds left to ring after the final hit

_FULL = frozenset({"drums", "bass", "comp", "riff", "pad", "lead", "harmony"})
_VERSE = frozenset({"drums", "bass", "comp", "lead"})
_INTROS = (
    frozenset({"drums", "bass", "comp"}),
    frozenset({"drums", "comp", "riff"}),
    frozenset({"bass", "comp", "riff"}),
    frozenset({"comp", "pad", "lead"}),
    frozenset({"drums", "bass", "riff"}),
)
_BREAKS = (
    frozenset({"bass", "comp", "lead"}),
    frozenset({"drums", "comp", "lead"}),
    frozenset({"drums", "bass", "pad", "lead"}),
)


@dataclass(frozen=True)
class Dealer:
    """Deals a song its choices from shuffled packs: all come up before one comes up again."""

    seed: int
    split: str
    index: int

    def __call__(self, pack: str, cards: Sequence[Choice]) -> Choice:
        """Return this song's card; `pack` names what is dealt."""
        turn, place = divmod(self.index, len(cards))
        shuffled = numpy_generator(self.seed, "pack", self.split, pack, turn).permutation(
            len(cards)
        )
        return cards[int(shuffled[place])]


def compose(seed: int, split: str, index: int, seconds: float) -> Song:
    """Compose one song of at least `seconds` seconds (and at most a bar and 1.2 s more).

    Args:
        seed: seed of the set.
        split: train, valid or test; decides which keys, progressions, pattern seeds and programs
            may be used.
        index: number of the song in its split.
    """
    rng = numpy_generator(seed, "song", split, index)
    pick = Dealer(seed, split, index)
    key = pick("key", banks.KEYS[split])
    bank = banks.PROGRESSIONS[split][key.mode]
    progressions = tuple(bank[int(i)] for i in rng.choice(len(bank), size=2, replace=False))
    groove = pick("groove", banks.GROOVES)
    tempo = int(rng.integers(groove.tempo[0], groove.tempo[1] + 1))
    pattern_seeds = {stem: _pattern_seed(split, rng) for stem in STEMS}

    bar_seconds = BEATS_PER_BAR * 60 / tempo
    bars = max(1, math.ceil((seconds - LEAD_IN - RING) / bar_seconds))
    sections = _form(bars, rng)
    sheet = LeadSheet(
        key=key,
        tempo=tempo,
        swing=groove.swing,
        sections=sections,
        chords=_lay_chords(sections, progressions, key),
        final_chord=chord_of("I" if key.mode == "major" else "i", key),
    )
    length = max(seconds, LEAD_IN + bars * bar_seconds + RING)
    return Song(
        name=f"{split}-{index:03d}-{key.name.replace(' ', '-').lower()}-{tempo}bpm",
        split=split,
        index=index,
        sheet=sheet,
        progressions=progressions,
        groove=groove.name,
        pattern_seeds=pattern_seeds,
        parts=write_parts(sheet, _call_band(split, groove, pick), pattern_seeds, rng),
        balance=_balance(rng),
        frames=math.ceil(length * SAMPLERATE),
    )


def _call_band(split: str, groove: banks.Groove, pick: Dealer) -> Band:
    """Choose everyone's instrument from the split's programs."""
    family = pick("family", sorted(banks.COMPS[split]))
    voice, bright = pick("voice", banks.VOICES[split])
    return Band(
        groove=groove,
        drum_kit=pick("drum_kit", banks.DRUM_KITS[split]),
        bass=pick("bass", banks.BASSES[split]),
        comp_family=family,
        comp=pick("comp", banks.COMPS[split][family]),
        pad=pick("pad", banks.PADS[split]),
        riff=pick("riff", banks.RIFFS[split]),
        voice=voice,
        bright=bright,
    )


def _pattern_seed(split: str, rng: np.random.Generator) -> int:
    residues = banks.PATTERN_RESIDUES[split]
    residue = residues[int(rng.integers(len(residues)))]
    return int(rng.integers(2**24)) * banks.PATTERN_MODULUS + residue


def _form(bars: int, rng: np.random.Generator) -> tuple[Section, ...]:
    """Lay out intro, verses and choruses of about 4 bars; a bar of break may lead into a chorus.

    Every stem plays in most of the bars. Fewer than 6 bars are one chorus.
    """
    if bars < 6:
        return (Section("chorus", 0, bars, _FULL),)
    intro = 2 if bars >= 11 else 1
    sections = [Section("intro", 0, intro, _INTROS[int(rng.integers(len(_INTROS)))])]
    blocks = max(2, round((bars - intro) / 4))
    edges = [intro + round((bars - intro) * i / blocks) for i in range(blocks + 1)]
    verse = _VERSE | ({"pad"} if rng.random() < 0.4 else set())
    for block in range(blocks):
        first, count = edges[block], edges[block + 1] - edges[block]
        if block % 2 == 1:
            sections.append(Section("chorus", first, count, _FULL))
        elif count >= 4 and rng.random() < 0.5:
            silent = _BREAKS[int(rng.integers(len(_BREAKS)))]
            sections.append(Section("verse", first, count - 1, frozenset(verse)))
            sections.append(Section("break", first + count - 1, 1, silent))
        else:
            sections.append(Section("verse", first, count, frozenset(verse)))
    return tuple(sections)


def _lay_chords(
    sections: tuple[Section, ...], progressions: tuple[str, ...], key: Key
) -> tuple[ChordSpan, ...]:
    """Lay one chord a bar (two where the progression has 8): the second progression in choruses.

    A break goes on where its verse stopped; other sections begin their progression anew.
    """
    spans: list[ChordSpan] = []
    position = 0
    for section in sections:
        degrees = progressions[1 if section.name == "chorus" else 0].split()
        chords: list[Chord] = [chord_of(degree, key) for degree in degrees]
        if section.name != "break":
            position = 0
        per_bar = 2 if len(chords) > 4 else 1
        length = BEATS_PER_BAR / per_bar
        for number in range(section.bars * per_bar):
            start = section.start + number * length
            spans.append(ChordSpan(start, length, chords[position % len(chords)]))
            position += 1
    return tuple(spans)


def _balance(rng: np.random.Generator) -> dict[str, Balance]:
    """Draw a pop-like balance: voice and drums in front, bass and accompaniment just behind."""
    centre = {"drums": 0.0, "bass": -1.0, "other": -1.5, "vocals": 0.5}
    return {
        stem: Balance(
            level=centre[stem] + float(rng.uniform(-1.5, 1.5)), width=float(rng.uniform(0.8, 1.2))
        )
        for stem in STEMS
    }
