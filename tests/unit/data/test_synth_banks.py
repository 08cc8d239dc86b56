"""The splits share no key, no loop of chords and no pattern seed, and their instruments differ."""

import itertools

import pytest

from mss.data.synth import banks
from mss.data.synth.harmony import canonical_loop, chord_of, melody_classes, voice_lead
from mss.data.synth.score import Key

PAIRS = list(itertools.combinations(banks.SPLITS, 2))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_keys_are_disjoint(one: str, other: str) -> None:
    assert not set(banks.KEYS[one]) & set(banks.KEYS[other])


def test_keys_cover_all_24_and_both_modes_in_each_split() -> None:
    assert len({key for keys in banks.KEYS.values() for key in keys}) == 24
    for keys in banks.KEYS.values():
        assert {key.mode for key in keys} == {"major", "minor"}


def loops(split: str) -> set[tuple[tuple[int, tuple[int, ...]], ...]]:
    bank = banks.PROGRESSIONS[split]
    return {canonical_loop(text, mode) for mode, texts in bank.items() for text in texts}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_progressions_are_disjoint_also_when_rotated_or_read_in_the_relative_key(
    one: str, other: str
) -> None:
    assert not loops(one) & loops(other)


def test_canonical_loop_knows_rotations_and_relative_minors() -> None:
    axis = canonical_loop("I V vi IV", "major")
    assert canonical_loop("vi IV I V", "major") == axis
    assert canonical_loop("i VI III VII", "minor") == axis
    assert canonical_loop("I vi IV V", "major") != axis


def test_pattern_seeds_are_partitioned() -> None:
    owned = [residue for split in banks.SPLITS for residue in banks.PATTERN_RESIDUES[split]]
    assert sorted(owned) == list(range(banks.PATTERN_MODULUS))
    assert banks.split_of_pattern_seed(16 * 7 + 13) == "test"


def programs(split: str) -> dict[str, set[int]]:
    return {
        "bass": set(banks.BASSES[split]),
        "pad": set(banks.PADS[split]),
        "voice": {voice for voice, _ in banks.VOICES[split]},
        **{family: set(numbers) for family, numbers in banks.COMPS[split].items()},
    }


def test_test_songs_have_known_and_unseen_programs_of_the_families_that_training_has() -> None:
    train, test = programs("train"), programs("test")
    for role in train:
        assert train[role] & test[role], role
        assert test[role] - train[role], role
        # General MIDI orders its programs in families of 8.
        assert {number // 8 for number in test[role]} <= {number // 8 for number in train[role]}
    assert set(banks.DRUM_KITS["test"]) - set(banks.DRUM_KITS["train"])
    assert set(banks.DRUM_KITS["test"]) & set(banks.DRUM_KITS["train"])


@pytest.mark.parametrize("groove", banks.GROOVES, ids=lambda groove: groove.name)
def test_grooves_are_one_bar_of_known_marks(groove: banks.Groove) -> None:
    for lane in (groove.kick, groove.snare, groove.hat, groove.extra):
        assert len(lane) == 16
        assert set(lane) <= set("Xxo.")
    assert 60 <= groove.tempo[0] < groove.tempo[1] <= 160


@pytest.mark.parametrize(
    ("degree", "key", "pitch_classes"),
    [
        ("I", Key(0, "major"), (0, 4, 7)),
        ("V7", Key(0, "major"), (7, 11, 2, 5)),
        ("bVII", Key(0, "major"), (10, 2, 5)),
        ("VI", Key(9, "minor"), (5, 9, 0)),
        ("iv", Key(9, "minor"), (2, 5, 9)),
        ("V", Key(9, "minor"), (4, 8, 11)),
    ],
)
def test_degrees(degree: str, key: Key, pitch_classes: tuple[int, ...]) -> None:
    assert chord_of(degree, key).pitch_classes == pitch_classes


def test_melody_over_the_dominant_of_a_minor_key_has_the_leading_tone_only() -> None:
    key = Key(9, "minor")
    classes = melody_classes(key, chord_of("V", key))
    assert 8 in classes  # G sharp
    assert 7 not in classes  # G
    assert set(melody_classes(key, chord_of("i", key))) == {9, 11, 0, 2, 4, 5, 7}


def test_voice_leading_moves_less_than_root_positions() -> None:
    key = Key(0, "major")
    first = voice_lead(chord_of("I", key), (), 52, 74)
    second = voice_lead(chord_of("IV", key), first, 52, 74)
    assert {pitch % 12 for pitch in second} == {5, 9, 0}
    assert abs(sum(second) - sum(first)) / 3 <= 3  # a fourth in root position would be 5
    assert min(second) >= 52 and max(second) <= 74
