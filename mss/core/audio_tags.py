"""Metadata and cover art of recordings, copied to their stems by mutagen.

    read from      ID3 (mp3, wav, aiff), Vorbis comments (flac, ogg, opus), MP4 atoms (m4a, mp4);
                   what FFmpeg knows of any other file, without its pictures
    written to     ID3 (wav, mp3), Vorbis comments (flac, ogg, opus), MP4 atoms (m4a)

Only what is true of a stem as well is copied (`FIELDS`): no replay gain, whose level is another, no
identifiers of the recording (ISRC, MusicBrainz). Tags are never a reason to stop: what can't be
read or has no place is named in what the functions return.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mss.core import audio_ffmpeg
from mss.core.audio_tag_schemes import (
    FIELDS,
    SINGLE_FIELDS,
    Picture,
    front_cover,
    read_ffmpeg,
    read_scheme,
    write_scheme,
)
from mss.core.errors import DataError, StemgridError

MAX_PICTURE_BYTES = 10 * 2**20
"""Larger covers are left out: every stem would hold one. (A FLAC's may have 16 MiB.)"""

MAX_TEXT_CHARACTERS = 2**16
"""Longer texts are left out."""

_MAX_WAV_BYTES = 2**32 - 1  # its header holds sizes in 32 bits


@dataclass(frozen=True)
class Tags:
    """What is known of a recording.

    Attributes:
        fields: by name of `FIELDS`, one text or several; "tracknumber" and "discnumber" are "3" or
            "3/12", "date" should start with the year, "bpm" is beats a minute.
        cover: the front cover, else the first picture; None without one.
        left_out: what could not be read, one phrase each, without the name of the file.
    """

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cover: Picture | None = None
    left_out: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.fields) or self.cover is not None

    def for_stem(self, source: str) -> Tags:
        """Return the tags of a stem: the same, its name in the title.

        >>> Tags({"title": ("Song",)}).for_stem("vocals").fields["title"]
        ('Song (vocals)',)
        """
        titles = tuple(f"{title} ({source})" for title in self.fields.get("title", ()))
        return replace(self, fields={**self.fields, "title": titles} if titles else self.fields)


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Return the tags of a recording; whatever is wrong with them is told in `left_out`."""
    file = Path(path)
    fields: dict[str, tuple[str, ...]] = {}
    pictures: list[Picture] = []
    left_out: list[str] = []
    try:
        fields, pictures = read_scheme(file)
    except Exception as error:
        # Anything may come out of a parser of damaged tags; none of it is worth a separation.
        left_out.append(f"tags: damaged, some may be missing ({_reason(error)})")
    if not fields:
        try:
            fields = read_ffmpeg(audio_ffmpeg.metadata(file))
        except StemgridError as error:
            left_out.append(f"tags: none could be read ({_reason(error)})")
    kept = {}
    for name in FIELDS:
        texts = tuple(filter(None, map(_clean, fields.get(name, ()))))
        if name in SINGLE_FIELDS:
            texts = texts[:1]
        if any(len(text) > MAX_TEXT_CHARACTERS for text in texts):
            left_out.append(f"{name}: longer than {MAX_TEXT_CHARACTERS} characters")
        elif texts:
            kept[name] = texts
    cover, fault = _usable(front_cover(pictures))
    return Tags(kept, cover, (*left_out, *fault))


def write_tags(path: str | os.PathLike[str], tags: Tags) -> tuple[str, ...]:
    """Write tags into a closed file that `audio_write` has made; its samples stay as they are.

    Args:
        path: a wav, flac, mp3, ogg, opus or m4a file without tags. It is changed in place, so it
            should not stand under its final name yet.
        tags: what `read_tags` gave.

    Returns:
        What this format has no place for, one phrase each, without the name of the file.

    Raises:
        DataError: the file can't be written; it is damaged then.
    """
    import mutagen

    file = Path(path)
    if not tags:
        return ()
    try:
        if fault := _no_room(file, tags):
            return (fault,)
        left_out = write_scheme(file, tags.fields, tags.cover)
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    except (mutagen.MutagenError, OSError) as error:
        raise DataError(
            f"{file}: its tags can't be written ({_reason(error)}). Check the folder's permissions"
            " and the free space."
        ) from error
    return left_out


def _no_room(path: Path, tags: Tags) -> str | None:
    """Return why a file has no place for any tags; None where it has."""
    with open(path, "rb") as handle:
        magic = handle.read(4)
    if magic == b"RF64":
        return "all tags: a WAV of more than 4 GB has no place for them"
    if magic == b"RIFF":
        # UTF-16 takes at most 4 bytes a character, and a frame's header some more.
        texts = sum(len(text) for values in tags.fields.values() for text in values)
        needed = 2**16 + 4 * texts + (len(tags.cover.data) if tags.cover else 0)
        if path.stat().st_size + needed > _MAX_WAV_BYTES:
            return "all tags: with them, the WAV would pass 4 GB"
    return None


def _usable(picture: Picture | None) -> tuple[Picture | None, tuple[str, ...]]:
    """Return a picture that may be copied, and why it may not."""
    if picture is None:
        return None, ()
    size = len(picture.data)
    if size > MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES / 2**20
        return None, (f"cover: {size / 2**20:.1f} MiB, more than {limit:g} MiB",)
    if picture.mime is None:
        return None, ("cover: neither a JPEG nor a PNG picture",)
    return picture, ()


def _clean(text: str) -> str:
    """Return text that every format can hold: no control or half characters."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", " ", text)
    return text.encode("utf-8", "replace").decode("utf-8").strip()


def _reason(error: Exception) -> str:
    """Return what went wrong, in one line that is never empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
