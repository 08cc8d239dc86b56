"""The three schemes of tags (ID3v2.4, Vorbis comments, MP4 atoms), and FFmpeg's names for them.

Each is read into the same fields and written from them. mutagen does the parsing and is imported
here and where an Ogg file is finished (audio_write.py).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELDS = (
    "title",
    "artist",
    "album",
    "albumartist",
    "date",
    "genre",
    "tracknumber",
    "discnumber",
    "composer",
    "comment",
    "copyright",
    "bpm",
    "initialkey",
)
"""What is copied, by the names that Vorbis comments give it."""

SINGLE_FIELDS = ("date", "tracknumber", "discnumber", "bpm", "initialkey")
"""Fields of one text; the others may have several."""

_ID3_FRAMES = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "albumartist": "TPE2",
    "date": "TDRC",
    "genre": "TCON",
    "tracknumber": "TRCK",
    "discnumber": "TPOS",
    "composer": "TCOM",
    "copyright": "TCOP",
    "bpm": "TBPM",
    "initialkey": "TKEY",
}
_ID3V1_COMMENT = "ID3v1 Comment"  # as mutagen describes it
_MP4_TEXTS = {
    "title": "\xa9nam",
    "artist": "\xa9ART",
    "album": "\xa9alb",
    "albumartist": "aART",
    "date": "\xa9day",
    "genre": "\xa9gen",
    "composer": "\xa9wrt",
    "comment": "\xa9cmt",
    "copyright": "cprt",
    "initialkey": "----:com.apple.iTunes:initialkey",
}
_MP4_NUMBERS = {"tracknumber": "trkn", "discnumber": "disk"}
_MP4_MAX_NUMBER = 2**16 - 1

# Other names of a field, in Vorbis comments and of FFmpeg.
_ALIASES = {
    "albumartist": ("album_artist", "album artist"),
    "date": ("year",),
    "tracknumber": ("track",),
    "discnumber": ("disc",),
    "comment": ("description",),
    "bpm": ("tempo", "tbpm", "tmpo"),
    "initialkey": ("key", "tkey", "initial_key"),
}
_TOTALS = {
    "tracknumber": ("tracktotal", "totaltracks"),
    "discnumber": ("disctotal", "totaldiscs"),
}
_FRONT_COVER = 3  # of ID3's and FLAC's kinds of pictures

Fields = dict[str, tuple[str, ...]]
Texts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Attributes:
        data: its bytes.
        kind: as ID3 and FLAC count kinds; 3 is the front cover.
    """

    data: bytes
    kind: int = _FRONT_COVER

    @property
    def mime(self) -> str | None:
        """What its first bytes say, whatever its tag says; None for neither JPEG nor PNG."""
        if self.data.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        if self.data.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        return None


def front_cover(pictures: Iterable[Picture]) -> Picture | None:
    """Return the front cover, else the first picture."""
    ordered = sorted(pictures, key=lambda picture: picture.kind != _FRONT_COVER)
    return ordered[0] if ordered else None


def read_scheme(path: Path) -> tuple[Fields, list[Picture]]:
    """Return the fields and pictures that mutagen finds, none in files it does not know.

    Raises:
        Exception: damaged tags; mutagen's errors, and others that it lets through.
    """
    import mutagen
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3
    from mutagen.mp4 import MP4
    from mutagen.ogg import OggFileType

    file: Any = mutagen.File(path)
    if file is None or file.tags is None:
        # a FLAC's pictures do not stand among its tags
        return {}, _flac_pictures(file) if isinstance(file, FLAC) else []
    if isinstance(file.tags, ID3):
        return _read_id3(file.tags)
    if isinstance(file, MP4):
        return _read_mp4(file.tags)
    if isinstance(file, FLAC):
        return _read_vorbis(file.tags), _flac_pictures(file)
    if isinstance(file, OggFileType):
        return _read_vorbis(file.tags), _ogg_pictures(file.tags)
    return {}, []


def read_ffmpeg(found: Mapping[str, str]) -> Fields:
    """Return the fields of FFmpeg's names, such as "album_artist"."""
    return _read_vorbis({key: [text] for key, text in found.items()})


def write_scheme(path: Path, fields: Texts, cover: Picture | None) -> tuple[str, ...]:
    """Write the tags that a file of this ending has; return what has no place there.

    Args:
        path: of a file that has no tags.
        fields: by name of `FIELDS`.
        cover: of a known `mime`.

    Raises:
        mutagen.MutagenError, OSError: the file can't be written.
    """
    ending = path.suffix.lower()
    if ending in (".wav", ".mp3"):
        return _write_id3(path, fields, cover)
    if ending == ".m4a":
        return _write_mp4(path, fields, cover)
    assert ending in (".flac", ".ogg", ".opus"), path
    return _write_vorbis(path, fields, cover)


def _read_id3(tags: Any) -> tuple[Fields, list[Picture]]:
    # FFmpeg writes a comment, and all that it knows no frame for, as texts under its own names
    fields = _read_vorbis({frame.desc: map(str, frame.text) for frame in tags.getall("TXXX")})
    for name, key in _ID3_FRAMES.items():
        if key in tags:
            frame = tags[key]
            # genres may be numbers of ID3v1's list
            texts = frame.genres if name == "genre" else frame.text
            fields[name] = tuple(str(text) for text in texts)
    # programs keep settings in comments that have a description
    comments = {frame.desc: frame.text for frame in reversed(tags.getall("COMM"))}
    for description in (_ID3V1_COMMENT, ""):
        if description in comments:
            fields["comment"] = tuple(str(text) for text in comments[description])
    return fields, [Picture(frame.data, int(frame.type)) for frame in tags.getall("APIC")]


def _write_id3(path: Path, fields: Texts, cover: Picture | None) -> tuple[str, ...]:
    from mutagen import id3, wave

    left_out = []
    file = wave.WAVE(path) if path.suffix.lower() == ".wav" else None
    if file is not None:
        file.add_tags()
    frames: Any = id3.ID3() if file is None else file.tags
    for name, texts in fields.items():
        if name == "comment":
            frames.add(id3.COMM(encoding=3, lang="XXX", desc="", text=list(texts)))
            continue
        frame = getattr(id3, _ID3_FRAMES[name])(encoding=3, text=list(texts))
        if not all(str(text) for text in frame.text):
            left_out.append(f"{name} {texts[0]!r}: ID3 has no place for it")
            continue
        frames.add(frame)
    if cover is not None:
        frames.add(id3.APIC(encoding=3, mime=cover.mime, type=_FRONT_COVER, data=cover.data))
    frames.save(path)
    return tuple(left_out)


def _read_vorbis(tags: Any) -> Fields:
    """Read a mapping of names in any case to lists of texts."""
    found = {key.lower(): tuple(values) for key, values in tags.items()}
    fields: Fields = {}
    for name in FIELDS:
        for key in (name, *_ALIASES.get(name, ())):
            if found.get(key):
                fields[name] = found[key]
                break
    for name, keys in _TOTALS.items():
        total = next((found[key][0] for key in keys if found.get(key)), None)
        if name in fields and total and "/" not in fields[name][0]:
            fields[name] = (f"{fields[name][0]}/{total}",)
    return fields


def _flac_pictures(file: Any) -> list[Picture]:
    return [Picture(picture.data, picture.type) for picture in file.pictures]


def _ogg_pictures(tags: Any) -> list[Picture]:
    from mutagen.flac import Picture as FlacPicture

    blocks = [
        FlacPicture(base64.b64decode(text)) for text in tags.get("metadata_block_picture", [])
    ]
    return [Picture(block.data, block.type) for block in blocks]


def _write_vorbis(path: Path, fields: Texts, cover: Picture | None) -> tuple[str, ...]:
    from mutagen import flac, oggopus, oggvorbis

    kinds: dict[str, Any] = {
        ".flac": flac.FLAC,
        ".ogg": oggvorbis.OggVorbis,
        ".opus": oggopus.OggOpus,
    }
    file: Any = kinds[path.suffix.lower()](path)
    if file.tags is None:
        file.add_tags()
    for name, texts in fields.items():
        numbers = _numbers(texts[0]) if name in _TOTALS else None
        if numbers is not None:
            file[name] = [str(numbers[0])]
            if numbers[1]:
                file[_TOTALS[name][0]] = [str(numbers[1])]
        else:
            file[name] = list(texts)
    if cover is not None:
        picture: Any = flac.Picture()
        picture.type, picture.mime, picture.data = _FRONT_COVER, cover.mime, cover.data
        if path.suffix.lower() == ".flac":
            file.add_picture(picture)
        else:
            file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode("ascii")]
    file.save()
    return ()


def _read_mp4(tags: Any) -> tuple[Fields, list[Picture]]:
    fields: Fields = {}
    for name, key in _MP4_TEXTS.items():
        if tags.get(key):
            fields[name] = tuple(
                bytes(text).decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
                for text in tags[key]
            )
    for name, key in _MP4_NUMBERS.items():
        if tags.get(key):
            number, total = tags[key][0]
            if number:
                fields[name] = (f"{number}/{total}" if total else str(number),)
    if tags.get("tmpo") and tags["tmpo"][0]:
        fields["bpm"] = (str(tags["tmpo"][0]),)
    return fields, [Picture(bytes(data)) for data in tags.get("covr", [])]


def _write_mp4(path: Path, fields: Texts, cover: Picture | None) -> tuple[str, ...]:
    from mutagen.mp4 import MP4, MP4Cover

    left_out = []
    file: Any = MP4(path)
    if file.tags is None:
        file.add_tags()
    for name, texts in fields.items():
        if name in _MP4_TEXTS:
            key = _MP4_TEXTS[name]
            own = key.startswith("----")  # a key outside of the standard holds bytes
            file[key] = [text.encode("utf-8") for text in texts] if own else list(texts)
            continue
        if name == "bpm":
            tempo = _whole_tempo(texts[0])
            if tempo is not None:
                file["tmpo"] = [tempo]
                continue
        elif (numbers := _numbers(texts[0])) is not None:
            file[_MP4_NUMBERS[name]] = [numbers]
            continue
        left_out.append(f"{name} {texts[0]!r}: MP4 has no place for it")
    if cover is not None:
        png = cover.mime == "image/png"
        kind = MP4Cover.FORMAT_PNG if png else MP4Cover.FORMAT_JPEG
        file["covr"] = [MP4Cover(cover.data, imageformat=kind)]
    file.save()
    return tuple(left_out)


def _numbers(text: str) -> tuple[int, int] | None:
    """Return "3/12" as (3, 12) and "3" as (3, 0); None for other texts."""
    match = re.fullmatch(r"(\d{1,5})\s*(?:/\s*(\d{0,5}))?", text)
    if match is None:
        return None
    number, total = int(match[1]), int(match[2] or 0)
    return (number, total) if 0 < number <= _MP4_MAX_NUMBER >= total else None


def _whole_tempo(text: str) -> int | None:
    """Return beats a minute, rounded; None for what is none."""
    match = re.fullmatch(r"\d{1,4}(\.\d{1,9})?", text)
    return round(float(text)) if match else None
