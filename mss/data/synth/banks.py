"""What songs are made of, and which split may use what.

Keys, progressions and pattern seeds are partitioned: no two splits share one, whatever the seed of
the set. Instruments overlap: training has the broad set, validation and test have a part of it and
programs that training never has, from the same families.
"""

from dataclasses import dataclass

from mss.data.synth.score import Key

SPLITS = ("train", "valid", "test")


def _keys(major: tuple[int, ...], minor: tuple[int, ...]) -> tuple[Key, ...]:
    return tuple(
        [Key(tonic, "major") for tonic in major] + [Key(tonic, "minor") for tonic in minor]
    )


KEYS: dict[str, tuple[Key, ...]] = {
    "train": _keys(major=(0, 2, 3, 5, 7, 9, 10), minor=(0, 2, 4, 5, 7, 9, 11)),
    "valid": _keys(major=(8, 11), minor=(1, 6)),
    "test": _keys(major=(1, 4, 6), minor=(3, 8, 10)),
}

# Well-worn progressions of popular music, in degrees of the mode's own scale. No progression is a
# rotation of one in another split, nor its relative minor (test_synth_banks.py checks it).
PROGRESSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "major": (
            "I V vi IV",
            "vi IV I V",
            "I IV V IV",
            "I vi ii V",
            "I iii IV V",
            "I bVII IV I",
            "I V vi iii IV I IV V",
            "IV V iii vi",
            "I Imaj7 IV IV",
            "ii7 V7 Imaj7 vi7",
            "I V IV V",
        ),
        "minor": (
            "i VI III VII",
            "i VII VI VII",
            "i iv VII III",
            "i VII VI V",
            "i iv i V",
            "i v VI iv",
            "i VI iv V",
            "i VII IV i",
        ),
    },
    "valid": {
        "major": ("I ii IV V", "I IV vi V"),
        "minor": ("i VI VII i", "i iv VI V"),
    },
    "test": {
        "major": ("I iii vi IV", "I IV ii V", "I V ii IV", "I III7 IV iv"),
        "minor": ("i III VII iv", "i v iv v", "i III iv VI", "i VI III iv"),
    },
}

# A pattern seed belongs to the split that owns its remainder modulo 16.
PATTERN_MODULUS = 16
PATTERN_RESIDUES = {
    "train": tuple(range(10)),
    "valid": (10, 11),
    "test": (12, 13, 14, 15),
}


def split_of_pattern_seed(seed: int) -> str:
    """Return the split that owns a pattern seed."""
    residue = seed % PATTERN_MODULUS
    return next(split for split in SPLITS if residue in PATTERN_RESIDUES[split])


# General MIDI programs, counted from 0 as in the file format. "comp" is by family because a guitar
# is strummed and an organ is held.
DRUM_KITS = {
    "train": (0, 8, 16, 24, 25, 32),
    "valid": (0, 16, 25),
    "test": (0, 8, 25, 40),
}
BASSES = {
    "train": (32, 33, 34, 35, 36, 38, 39),
    "valid": (33, 35, 38),
    "test": (33, 34, 35, 37, 39),
}
COMPS: dict[str, dict[str, tuple[int, ...]]] = {
    "train": {
        "keys": (0, 1, 2, 3, 4, 6, 7),
        "organ": (16, 18),
        "guitar": (24, 25, 27, 29, 30),
    },
    "valid": {"keys": (0, 2), "organ": (17,), "guitar": (25, 26)},
    "test": {"keys": (0, 2, 3, 4, 5), "organ": (17, 18), "guitar": (25, 26, 27, 30)},
}
PADS = {
    "train": (48, 49, 50, 51, 89, 90),
    "valid": (48, 89),
    "test": (48, 51, 89, 95),
}
RIFFS = {
    "train": (11, 12, 26, 27, 29, 61, 62, 63, 80, 104, 107),
    "valid": (12, 61, 80),
    "test": (11, 26, 56, 61, 63, 80, 108),
}
# A singer is a sampled voice and the bright program that the vowels are made from.
VOICES = {
    "train": ((52, 81), (53, 81), (85, 40), (52, 40), (53, 110), (91, 81)),
    "valid": ((52, 81), (53, 40)),
    "test": ((52, 81), (54, 81), (85, 110), (53, 40)),
}


@dataclass(frozen=True)
class Groove:
    """A one-bar drum pattern of 16 steps a lane: X accent, x normal, o ghost, `.` rest."""

    name: str
    tempo: tuple[int, int]
    swing: float
    kick: str
    snare: str
    hat: str
    extra: str = "................"
    backbeat: str = "snare"
    timekeeper: str = "hat"


GROOVES: tuple[Groove, ...] = (
    Groove("rock", (100, 138), 0.0,
           "X.......X.x.....", "....X.......X...", "X.x.X.x.X.x.X.x."),
    Groove("driving", (118, 140), 0.0,
           "X...x.x.X.x.....", "....X.......X...", "X.X.X.X.X.X.X.X."),
    Groove("four_on_floor", (112, 130), 0.0,
           "X...X...X...X...", "....x.......x...", "..X...X...X...X."),
    Groove("disco", (108, 126), 0.0,
           "X...X...X...X...", "....X.......X...", "x.Xxx.Xxx.Xxx.Xx"),
    Groove("half_time", (120, 140), 0.0,
           "X.....x...x.....", "........X.......", "X.x.x.x.X.x.x.x."),
    Groove("boom_bap", (84, 98), 0.22,
           "X..x......Xx....", "....X..o....X..o", "x.x.x.x.x.x.x.x."),
    Groove("funk", (92, 112), 0.08,
           "X..x..x...X..x..", "....X..o.o..X..o", "XxxxXxxxXxxxXxxx"),
    Groove("motown", (108, 128), 0.0,
           "X.....x.X.....x.", "X...X...X...X...", "X.x.X.x.X.x.X.x."),
    Groove("shuffle", (92, 118), 0.33,
           "X.....x.X.......", "....X.......X...", "X.x.X.x.X.x.X.x."),
    Groove("ballad", (80, 92), 0.0,
           "X.........X.....", "....X.......X...", "x.x.x.x.x.x.x.x.",
           timekeeper="ride"),
    Groove("train_beat", (104, 128), 0.0,
           "X...X...X...X...", "ooXoooXoooXoooXx", "..x...x...x...x."),
    Groove("one_drop", (80, 94), 0.12,
           "........X.......", "........X.......", "x.x.x.x.x.x.x.x.",
           "......o.......o.", backbeat="stick"),
    Groove("latin_pop", (96, 116), 0.0,
           "X.....x.X.....x.", "...X..X....X..X.", "x.xxx.xxx.xxx.xx",
           "X..x..x...x.x...", timekeeper="shaker"),
    Groove("tresillo", (88, 106), 0.0,
           "X..x..x.X..x..x.", "....X.......X...", "x.x.x.x.x.x.x.x.",
           "...X..X....X..X.", backbeat="clap"),
    Groove("synth_pop", (106, 126), 0.0,
           "X...x...X..xx...", "....X.......X...", "x.xxx.xxx.xxx.xx",
           backbeat="clap"),
    Groove("slow_rock", (80, 96), 0.0,
           "X......xX.x.....", "....X.......X...", "X.x.X.x.X.x.X.x.",
           timekeeper="ride"),
)  # fmt: skip
