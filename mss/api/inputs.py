"""From what a user names, files, folders and patterns, to the songs that are meant."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mss.core.errors import DataError
from mss.infer.song_names import Song, file_key

AUDIO_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        *("aac", "ac3", "aif", "aifc", "aiff", "alac", "ape", "au", "caf", "flac", "m4a", "m4b"),
        *("mka", "mp2", "mp3", "oga", "ogg", "opus", "rf64", "snd", "w64", "wav", "wave", "wma"),
        "wv",
    )
)
"""Of the files that are taken from a folder. A file that is named itself may end in anything."""


@dataclass
class Found:
    """The songs to separate, in a stable order, and what is wrong with the rest.

    Attributes:
        songs: no two of one path.
        faults: a message by what was named.
    """

    songs: list[Song] = field(default_factory=list)
    faults: dict[Path, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.songs) + len(self.faults)


def find_songs(
    named: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
) -> Found:
    """Return the songs of files, folders (with all folders in them) and glob patterns.

    A folder gives its files that end as audio does, sorted by name, hidden ones left out. A pattern
    counts where the shell has left it: no file has that very name.

    Args:
        named: what the user named.
        out: the output folder, which is left out.
    """
    found = Found()
    songs: dict[str, Song] = {}
    for one in named:
        text = os.fspath(one)
        try:
            matches = _expand(text)
            for match in matches:
                members = [Song(Path(match))]
                if os.path.isdir(match):
                    members = _in_folder(match, out)
                for song in members:
                    songs.setdefault(file_key(song.path), song)
        except DataError as error:
            found.faults[Path(text)] = str(error)
    found.songs = list(songs.values())
    return found


def lengths(found: Found) -> list[float]:
    """Return the seconds of each song, as far as their headers tell."""
    from mss.core.audio_io import audio_info  # here: what parses arguments needs no torch

    seconds = []
    for song in found.songs:
        try:
            info = audio_info(song.path)
        except (DataError, OSError, UnicodeError):
            continue  # it will be told when it is separated
        seconds.append((info.frames or 0) / info.samplerate)
    return seconds


def _expand(text: str) -> list[str]:
    """Return what a pattern matches, sorted; a text that is none, or a file's name, as it is."""
    if os.path.lexists(text) or not glob.has_magic(text):
        return [text]
    matches = sorted(glob.glob(os.path.expanduser(text), recursive=True))
    if not matches:
        raise DataError(f"{text}: no file matches this. Check the folder and the pattern.")
    return matches


def _in_folder(folder: str, out: str | os.PathLike[str] | None) -> list[Song]:
    """Return a folder's songs.

    Raises:
        DataError: it can't be read, or holds none.
    """
    left_out = None if out is None else os.path.realpath(out)
    songs: list[Song] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: can't be read ({error.strerror}). Check the folder's permissions."
        ) from error

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and os.path.realpath(os.path.join(root, name)) != left_out
        ]
        beneath = os.path.relpath(root, folder).replace(os.sep, "/")
        songs += [
            Song(Path(root, name), "" if beneath == "." else beneath, from_folder=True)
            for name in sorted(files)
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_ENDINGS
        ]
    if not songs:
        raise DataError(
            f"{folder}: this folder holds no audio files (by their endings: wav, flac, mp3, ...). "
            "Name a file itself, whatever its ending."
        )
    return songs
