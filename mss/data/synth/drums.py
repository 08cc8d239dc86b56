"""The drummer: a groove with ghost notes and variations, fills before and crashes at sections."""

import numpy as np

from mss.data.synth.banks import Groove
from mss.data.synth.score import BEATS_PER_BAR, LeadSheet, Note, Section

# General MIDI percussion keys.
KICK, SNARE, STICK, CLAP, RIM_SNARE = 36, 38, 37, 39, 40
CLOSED_HAT, PEDAL_HAT, OPEN_HAT, RIDE, CRASH, SECOND_CRASH = 42, 44, 46, 51, 49, 57
TOMS = (50, 48, 47, 45, 43, 41)
TAMBOURINE, SHAKER, HIGH_CONGA, LOW_CONGA, COWBELL = 54, 70, 63, 64, 56

STEP = BEATS_PER_BAR / 16
_VELOCITY = {"X": 112, "x": 92, "o": 48}
_BACKBEAT = {"snare": SNARE, "stick": STICK, "clap": CLAP}
_TIMEKEEPER = {"hat": CLOSED_HAT, "ride": RIDE, "shaker": SHAKER}
_FILLS = (
    "........sss.tttt",
    "........s.s.s.ss",
    "............ssss",
    "....t.t.t.t.t.tt",
    "........stststst",
    "..........t.t.tt",
)


class Drummer:
    """Writes the drum part of one song; what it keeps for the whole song is drawn first."""

    def __init__(self, groove: Groove, rng: np.random.Generator):
        self.groove = groove
        self.rng = rng
        self.backbeat = _BACKBEAT[groove.backbeat]
        if self.backbeat == SNARE and rng.random() < 0.3:
            self.backbeat = RIM_SNARE
        self.timekeeper = _TIMEKEEPER[groove.timekeeper]
        self.chorus_timekeeper = int(rng.choice([self.timekeeper, RIDE, OPEN_HAT, CLOSED_HAT]))
        self.extra = int(rng.choice([HIGH_CONGA, LOW_CONGA, COWBELL, TAMBOURINE]))
        self.kick = self._vary(groove.kick, off_beats=(3, 6, 7, 10, 11, 14), proba=0.12)
        self.snare = self._vary(groove.snare, off_beats=(7, 9, 15), proba=0.12, mark="o")
        self.tambourine = bool(rng.random() < 0.4)
        self.open_hat_step = int(rng.choice([6, 14, 14, -1]))

    def write(self, sheet: LeadSheet) -> list[Note]:
        """Return the notes for all sections that have drums, and the final hit."""
        notes: list[Note] = []
        for number, section in enumerate(sheet.sections):
            if "drums" not in section.roles:
                continue
            if number > 0:
                crash = CRASH if number % 2 else SECOND_CRASH
                notes.append(Note(section.start, 2.0, crash, self._velocity(104)))
            for bar in range(section.bars):
                start = section.start + bar * BEATS_PER_BAR
                last = bar == section.bars - 1
                fill = str(self.rng.choice(_FILLS)) if last and section.bars > 1 else "." * 16
                notes.extend(self._bar(section, start, fill))
        notes.append(Note(sheet.end, 2.0, CRASH, self._velocity(110)))
        notes.append(Note(sheet.end, 0.5, KICK, self._velocity(115)))
        return notes

    def _vary(self, lane: str, off_beats: tuple[int, ...], proba: float, mark: str = "x") -> str:
        """Add a few hits to a lane on steps that do not disturb the beat."""
        steps = list(lane)
        for step in off_beats:
            if steps[step] == "." and self.rng.random() < proba:
                steps[step] = mark
        return "".join(steps)

    def _velocity(self, mean: float) -> int:
        return int(np.clip(round(self.rng.normal(mean, 5)), 20, 127))

    def _bar(self, section: Section, start: float, fill: str) -> list[Note]:
        """Write one bar; where the fill plays, it replaces snare and timekeeper."""
        chorus = section.name == "chorus"
        timekeeper = self.chorus_timekeeper if chorus else self.timekeeper
        fill_from = next((step for step, mark in enumerate(fill) if mark != "."), 16)
        notes: list[Note] = []

        def hit(step: int, key: int, velocity: float, length: float = 0.25) -> None:
            notes.append(Note(start + step * STEP, length, key, self._velocity(velocity)))

        toms = sorted(self.rng.choice(len(TOMS), size=16))
        for step in range(16):
            kick, snare, hat = self.kick[step], self.snare[step], self.groove.hat[step]
            if kick != ".":
                hit(step, KICK, _VELOCITY[kick])
            if step >= fill_from:
                if fill[step] == "s":
                    hit(step, SNARE, 78 + 2.2 * step)
                elif fill[step] == "t":
                    hit(step, TOMS[toms[step]], 80 + 2.2 * step)
                continue
            if snare != ".":
                # A ghost note is a soft snare, also where the backbeat is a clap or a stick.
                hit(step, SNARE if snare == "o" else self.backbeat, _VELOCITY[snare])
            if hat != ".":
                is_open = step == self.open_hat_step and timekeeper == CLOSED_HAT
                hit(step, OPEN_HAT if is_open else timekeeper, _VELOCITY[hat] - 14)
            if self.groove.extra[step] != "." and section.name != "intro":
                hit(step, self.extra, _VELOCITY[self.groove.extra[step]] - 16)
            if chorus and self.tambourine and step % 4 == 2:
                hit(step, TAMBOURINE, 72)
        return notes
