"""What the composer writes: decided by its key alone, in range, in harmony, in form."""

import io
import itertools
from fractions import Fraction

import mido
import pytest

from mss.data.synth import banks
from mss.data.synth.composer import compose
from mss.data.synth.midi import part_midi, song_midi
from mss.data.synth.score import BEATS_PER_BAR, LEAD_IN, STEMS, Note, Part, Song, swing_beat

SONGS = [compose(0, split, index, 20) for split in banks.SPLITS for index in range(8)]


def part_of(song: Song, role: str) -> Part:
    return next(part for part in song.parts if part.role == role)


def test_a_song_is_decided_by_seed_split_and_index() -> None:
    assert compose(3, "train", 5, 20) == compose(3, "train", 5, 20)
    reference = compose(3, "train", 5, 20).parts
    assert compose(4, "train", 5, 20).parts != reference
    assert compose(3, "train", 6, 20).parts != reference
    assert compose(3, "valid", 5, 20).parts != reference


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_songs_use_what_their_split_owns(song: Song) -> None:
    assert song.sheet.key in banks.KEYS[song.split]
    assert set(song.progressions) <= set(banks.PROGRESSIONS[song.split][song.sheet.key.mode])
    assert set(song.pattern_seeds) == set(STEMS)
    for seed in song.pattern_seeds.values():
        assert banks.split_of_pattern_seed(seed) == song.split


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_songs_last_20_to_24_seconds_and_every_stem_plays_in_most_bars(song: Song) -> None:
    assert 20 <= song.seconds <= 24
    bars = song.sheet.bars
    for stem in STEMS:
        sounding = {
            int(beat // BEATS_PER_BAR)
            for part in song.stem_parts(stem)
            for note in part.notes
            for beat in (note.start, note.start + note.length * 0.9)
            if beat < song.sheet.end
        }
        assert len(sounding) >= 0.7 * bars, (stem, sounding, bars)


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_notes_lie_in_their_instruments_ranges_and_within_the_song(song: Song) -> None:
    ranges = {"drums": (35, 81), "bass": (28, 52), "lead": (50, 84), "harmony": (41, 82)}
    for part in song.parts:
        low, high = ranges.get(part.role, (36, 96))
        for note in part.notes:
            assert low <= note.pitch <= high, (part.role, note)
            assert 1 <= note.velocity <= 127
            assert note.length > 0
            assert 0 <= note.start <= song.sheet.end + 0.1


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_bass_and_melody_agree_with_the_chords(song: Song) -> None:
    spans = song.sheet.chords
    bass = part_of(song, "bass").notes
    for span in spans:
        for note in bass:
            if abs(note.start - span.start) < 0.06:
                assert note.pitch % 12 == span.chord.root
    for note in part_of(song, "lead").notes:
        if note.length >= 0.95 and note.start < song.sheet.end:
            assert note.pitch % 12 in song.sheet.chord_at(note.start).pitch_classes


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)
def test_sections_and_chords_fill_the_form_without_gaps(song: Song) -> None:
    sheet = song.sheet
    position = 0
    for section in sheet.sections:
        assert section.first_bar == position
        assert section.bars > 0
        position += section.bars
    beat = 0.0
    for span in sheet.chords:
        assert span.start == beat
        beat += span.length
    assert beat == sheet.end


def test_melody_breathes_and_drops_out_with_its_section() -> None:
    for song in SONGS:
        lead = part_of(song, "lead").notes
        rests = [
            after.start - (note.start + note.length) for note, after in itertools.pairwise(lead)
        ]
        assert max(rests) >= 0.5
        for section in song.sheet.sections:
            if "drums" not in section.roles:
                inside = [
                    note
                    for note in part_of(song, "drums").notes
                    if section.start + 0.1 <= note.start < section.end - 0.1
                ]
                assert not inside


def test_packs_deal_every_key_before_one_comes_again() -> None:
    count = len(banks.KEYS["test"])
    keys = {compose(0, "test", index, 4).sheet.key for index in range(count)}
    assert keys == set(banks.KEYS["test"])


def test_swing_moves_the_off_beat_only() -> None:
    assert swing_beat(3.0, 0.3) == 3.0
    assert swing_beat(3.5, 0.3) == pytest.approx(3.65)
    places = [swing_beat(place / 10, 0.3) for place in range(21)]
    assert places == sorted(places)


def note_times(data: bytes) -> list[tuple[float, int, bool]]:
    """Return (seconds, pitch, whether it begins) by mido's own clock."""
    now = 0.0
    events = []
    for message in mido.MidiFile(file=io.BytesIO(data)):
        now += message.time
        if message.type in ("note_on", "note_off"):
            events.append((now, message.note, message.type == "note_on"))
    return events


def test_midi_has_the_notes_at_their_times() -> None:
    song = SONGS[0]
    part = part_of(song, "lead")
    beginnings = [(time, pitch) for time, pitch, on in note_times(part_midi(part, song)) if on]
    assert len(beginnings) == len(part.notes)
    for note, (time, pitch) in zip(part.notes, beginnings, strict=True):
        assert pitch == note.pitch
        written = LEAD_IN + swing_beat(note.start, song.sheet.swing) * 60 / song.sheet.tempo
        assert time == pytest.approx(written, abs=60 / song.sheet.tempo / 960 + 1e-4)
    length = mido.MidiFile(file=io.BytesIO(part_midi(part, song))).length
    assert length == pytest.approx(float(song.seconds + Fraction(1, 2)), abs=0.01)


def test_a_note_ends_before_its_pitch_is_struck_again() -> None:
    song = SONGS[0]
    part = Part("comp", "other", 0, (Note(0, 3.0, 60, 90), Note(1, 1.0, 60, 90)))
    events = [(pitch, on) for _, pitch, on in note_times(part_midi(part, song))]
    assert events == [(60, True), (60, False), (60, True), (60, False)]


def test_the_songs_midi_file_has_one_track_a_part_and_drums_on_channel_ten() -> None:
    song = SONGS[0]
    file = mido.MidiFile(file=io.BytesIO(song_midi(song)))
    assert [track.name for track in file.tracks] == [part.role for part in song.parts]
    channels = [
        {message.channel for message in track if message.type == "note_on"} for track in file.tracks
    ]
    assert channels[0] == {9}
    assert len(set.union(*channels)) == len(song.parts)
