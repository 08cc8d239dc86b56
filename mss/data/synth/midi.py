"""Scores as Standard MIDI Files."""

import importlib
import io
import math
from typing import Any

from mss.core.errors import ConfigError
from mss.data.synth.score import LeadSheet, Note, Part, Song

TICKS_PER_BEAT = 960
DRUM_CHANNEL = 9
BEND_RANGE = 2.0  # semitones, what General MIDI starts with
MISSING = 'the demo songs need it: pip install "stemgrid[train]"'
_VOLUME, _PAN, _REVERB, _CHORUS = 7, 10, 91, 93
DEFAULT_VOLUME = 90
# At one tick notes end before controls change, and controls change before notes begin.
_OFF, _CONTROL, _ON = 0, 1, 2


def part_midi(part: Part, song: Song, volume: int = DEFAULT_VOLUME) -> bytes:
    """Return one part alone as a MIDI file that lasts as long as the song."""
    channel = DRUM_CHANNEL if part.stem == "drums" else 0
    return _file_bytes([_track(part, song, channel, volume)], kind=0)


def song_midi(song: Song) -> bytes:
    """Return the whole song as a MIDI file with one track a part."""
    melodic = iter(channel for channel in range(16) if channel != DRUM_CHANNEL)
    tracks = [
        _track(part, song, DRUM_CHANNEL if part.stem == "drums" else next(melodic), DEFAULT_VOLUME)
        for part in song.parts
    ]
    return _file_bytes(tracks, kind=1)


def _mido() -> Any:
    """Return the mido module, which belongs to the lab and not to separation."""
    try:
        return importlib.import_module("mido")
    except ImportError as error:
        raise ConfigError(f"mido is not installed; {MISSING}") from error


def _file_bytes(tracks: list[Any], kind: int) -> bytes:
    file = _mido().MidiFile(type=kind, ticks_per_beat=TICKS_PER_BEAT)
    file.tracks.extend(tracks)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _ticks(beat: float, sheet: LeadSheet) -> int:
    return round(sheet.played_beat(beat) * TICKS_PER_BEAT)


def _track(part: Part, song: Song, channel: int, volume: int) -> Any:
    """Return a part's events, with times as differences between neighbours (in ticks)."""
    mido = _mido()
    sheet = song.sheet
    events: list[tuple[int, int, Any]] = []
    for note in _without_overlaps(part.notes):
        start = _ticks(note.start, sheet)
        end = max(_ticks(note.start + note.length, sheet), start + 1)
        on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        events.append((start, _ON, on))
        events.append((end, _OFF, mido.Message("note_off", channel=channel, note=note.pitch)))
    for control in part.controls:
        message = mido.Message(
            "control_change", channel=channel, control=control.number, value=control.value
        )
        events.append((_ticks(control.time, sheet), _CONTROL, message))
    for bend in part.bends:
        pitch = max(-8192, min(8191, round(bend.semitones / BEND_RANGE * 8192)))
        message = mido.Message("pitchwheel", channel=channel, pitch=pitch)
        events.append((_ticks(bend.time, sheet), _CONTROL, message))
    events.sort(key=lambda event: event[:2])  # stable: what was written first stays first

    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name=part.role))
    track.append(mido.MetaMessage("set_tempo", tempo=_microseconds_per_beat(sheet.tempo)))
    track.append(mido.Message("program_change", channel=channel, program=part.program))
    levels = ((_VOLUME, volume), (_PAN, part.pan), (_REVERB, part.reverb), (_CHORUS, part.chorus))
    for number, value in levels:
        track.append(_control(channel, number, value))
    now = 0
    for time, _, message in events:
        track.append(message.copy(time=time - now))
        now = time
    # The renderer stops at the end of the track: half a second later than the audio is cut.
    end = round(sheet.beats(float(song.seconds) + 0.5) * TICKS_PER_BEAT)
    track.append(mido.MetaMessage("end_of_track", time=max(end - now, 0)))
    return track


def _control(channel: int, number: int, value: int) -> Any:
    return _mido().Message("control_change", channel=channel, control=number, value=value)


def _microseconds_per_beat(tempo: int) -> int:
    return round(60_000_000 / tempo)


def _without_overlaps(notes: tuple[Note, ...]) -> list[Note]:
    """End each note where the next one of its pitch begins: a note-off would stop both."""
    following: dict[int, float] = {}
    result: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.start, note.pitch), reverse=True):
        limit = following.get(note.pitch, math.inf) - note.start
        if limit <= 0:  # struck twice at once: the first one is enough
            continue
        result.append(Note(note.start, min(note.length, limit), note.pitch, note.velocity))
        following[note.pitch] = note.start
    return result[::-1]
