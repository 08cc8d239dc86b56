"""Tags: every pair of formats, pictures, samples untouched, damaged tags."""

import struct
import zlib
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
import torch
from mutagen import aiff, flac, id3, mp4, oggvorbis, wave

from mss.core import audio_tags
from mss.core.audio_io import audio_info, parse_format, read_audio, write_audio
from mss.core.audio_tag_schemes import FIELDS, Picture
from mss.core.audio_tags import Tags, read_tags, write_tags
from mss.core.errors import DataError

RATE = 48000
FORMATS = ["wav16", "wav", "flac", "mp3", "ogg", "opus", "m4a"]

TEXTS = {
    "title": ("Straße, 東京 🎵",),
    "artist": ("One", "Another"),
    "album": ("Album",),
    "albumartist": ("Various",),
    "date": ("2021-03-04",),
    "genre": ("Jazz", "Rock / Pop"),
    "tracknumber": ("3/12",),
    "discnumber": ("1/2",),
    "composer": ("J. S. Bach",),
    "comment": ("two\nlines",),
    "copyright": ("2021 Someone",),
    "bpm": ("128",),
    "initialkey": ("F#m",),
}


def png(width: int = 8, height: int = 8) -> bytes:
    """Return a picture of random points."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    rows = np.random.default_rng(0).integers(0, 256, (height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 0] = 0  # no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows.tobytes(), 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


COVER = Picture(png())
FULL = Tags(TEXTS, COVER)


def song(folder: Path, name: str, length: int = 20_011) -> Path:
    """Write a short recording without tags."""
    chosen = parse_format(name)
    path = folder / f"{name}{chosen.extension}"
    audio = 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(0))
    write_audio(path, audio, RATE, chosen)
    return path


def test_every_field_is_tested() -> None:
    assert tuple(TEXTS) == FIELDS


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_tags_and_cover_survive_every_pair_of_formats(
    source: str, target: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    recording, stem = song(tmp_path / "in", source), song(tmp_path, target)
    assert write_tags(recording, FULL) == ()
    found = read_tags(recording)
    assert found.left_out == ()
    assert write_tags(stem, found) == ()
    copied = read_tags(stem)
    assert copied.fields == TEXTS
    assert copied.cover is not None
    assert copied.cover.data == COVER.data
    assert copied.left_out == ()


@pytest.mark.parametrize("pixels", [8, 700])  # 1.4 MiB: many pages of an Ogg
@pytest.mark.parametrize("name", FORMATS)
def test_samples_of_a_tagged_file_are_untouched(name: str, pixels: int, tmp_path: Path) -> None:
    path = song(tmp_path, name)
    audio, _ = read_audio(path)
    info = audio_info(path)
    write_tags(path, Tags(TEXTS, Picture(png(pixels, pixels))))
    assert audio_info(path) == info
    assert torch.equal(read_audio(path)[0], audio)
    assert torch.equal(read_audio(path, 5000, 700)[0], audio[:, 5000:5700])
    with av.open(str(path)) as container:  # another decoder's view
        decoded = sum(frame.samples for frame in container.decode(container.streams.audio[0]))
        assert decoded >= 20_011 - 1024


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("name", FORMATS)
def test_the_shortest_files_take_tags(name: str, length: int, tmp_path: Path) -> None:
    path = song(tmp_path, name, length)
    before, _ = read_audio(path)
    assert write_tags(path, FULL) == ()
    assert torch.equal(read_audio(path)[0], before)
    assert read_tags(path).fields == TEXTS


@pytest.mark.parametrize("name", FORMATS)
def test_ffmpeg_sees_title_and_cover(name: str, tmp_path: Path) -> None:
    path = song(tmp_path, name)
    write_tags(path, FULL)
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
        titles = [text for key, text in found.items() if key.lower() == "title"]
        assert titles == list(TEXTS["title"])
        assert len(container.streams.video) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_tags_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    contents = []
    for part in "ab":
        (tmp_path / part).mkdir()
        path = song(tmp_path / part, name)
        write_tags(path, FULL)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", FORMATS)
def test_no_tags_leave_the_file_as_it_is(name: str, tmp_path: Path) -> None:
    path = song(tmp_path, name)
    before = path.read_bytes()
    tags = read_tags(path)
    assert not tags
    assert (tags.fields, tags.cover, tags.left_out) == ({}, None, ())
    assert write_tags(path, tags) == ()
    assert path.read_bytes() == before


def test_a_stem_is_named_in_the_title() -> None:
    stem = FULL.for_stem("vocals")
    assert stem.fields == TEXTS | {"title": ("Straße, 東京 🎵 (vocals)",)}
    assert stem.cover is COVER
    assert Tags({"artist": ("One",)}).for_stem("vocals").fields == {"artist": ("One",)}


def test_aiff_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.aiff"
    soundfile.write(path, np.zeros((100, 2)), RATE)
    file = aiff.AIFF(path)
    file.add_tags()
    file.tags.add(id3.TIT2(text="Song"))
    file.tags.add(id3.APIC(type=4, mime="image/png", data=png(9)))
    file.tags.add(id3.APIC(type=3, desc="front", mime="image/jpg", data=COVER.data))
    file.save()
    tags = read_tags(path)
    assert tags.fields == {"title": ("Song",)}
    assert tags.cover == COVER


def test_info_chunks_of_a_wav_and_tags_of_matroska_are_read(tmp_path: Path) -> None:
    for ending in ("wav", "mka"):
        path = tmp_path / f"x.{ending}"
        with av.open(str(path), "w") as container:
            container.metadata.update({"title": "Song", "artist": "One", "genre": "Jazz"})
            stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 99), np.int16), layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
        expected = {"title": ("Song",), "artist": ("One",), "genre": ("Jazz",)}
        assert read_tags(path).fields == expected, ending


def test_texts_that_are_not_unicode_are_taken_for_western_ones(tmp_path: Path) -> None:
    path = song(tmp_path, "wav16")
    title = "Fü\x85r Élise".encode("latin-1")  # of an even length; 0x85 is an ellipsis
    info = b"LIST" + struct.pack("<I", 12 + len(title)) + b"INFOINAM"
    info += struct.pack("<I", len(title)) + title
    content = path.read_bytes() + info
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert read_tags(path).fields == {"title": ("Fü…r Élise",)}
    assert read_audio(path)[0].shape == (2, 20_011)


def test_other_names_of_fields_are_known(tmp_path: Path) -> None:
    path = song(tmp_path, "flac")
    file = flac.FLAC(path)
    file["TRACKNUMBER"], file["TotalTracks"] = "3", "12"
    file["YEAR"], file["ALBUM ARTIST"] = "1999", "Various"
    file["REPLAYGAIN_TRACK_GAIN"] = "-7 dB"
    file.save()
    assert read_tags(path).fields == {
        "tracknumber": ("3/12",),
        "date": ("1999",),
        "albumartist": ("Various",),
    }


def test_numbers_of_genres_and_settings_in_comments_are_told_apart(tmp_path: Path) -> None:
    path = song(tmp_path, "mp3")
    tags = id3.ID3()
    tags.add(id3.TCON(text="(17)"))
    tags.add(id3.COMM(lang="eng", desc="iTunNORM", text="0000"))
    tags.add(id3.COMM(lang="eng", desc="", text="Nice"))
    tags.save(path)
    assert read_tags(path).fields == {"genre": ("Rock",), "comment": ("Nice",)}


def test_comments_of_other_programs_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "ffmpeg.mp3"
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": "Song", "comment": "Nice", "bpm": "120"})
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16p", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "TXXX:comment" in mutagen.File(path).tags
    expected = {"title": ("Song",), "comment": ("Nice",), "bpm": ("120",)}
    assert read_tags(path).fields == expected

    path = song(tmp_path, "m4a")
    file = mp4.MP4(path)
    file["\xa9cmt"] = ["Nice"]
    file.save()
    assert read_tags(path).fields == {"comment": ("Nice",)}


def test_an_id3_comment_goes_before_one_of_ffmpeg_or_of_id3v1(tmp_path: Path) -> None:
    path = song(tmp_path, "mp3")
    tags = id3.ID3()
    tags.add(id3.TXXX(desc="COMMENT", text="of FFmpeg"))
    tags.add(id3.TXXX(desc="replaygain_track_gain", text="-7 dB"))
    tags.save(path)
    assert read_tags(path).fields == {"comment": ("of FFmpeg",)}
    tags.add(id3.COMM(lang="eng", desc="ID3v1 Comment", text="old"))
    tags.save(path)
    assert read_tags(path).fields == {"comment": ("old",)}
    tags.add(id3.COMM(lang="eng", desc="", text="native"))
    tags.add(id3.COMM(lang="eng", desc="iTunSMPB", text="0000"))
    tags.save(path)
    assert read_tags(path).fields == {"comment": ("native",)}


def test_the_comment_of_an_id3v1_tag_is_read(tmp_path: Path) -> None:
    path = song(tmp_path, "mp3")
    tag = b"TAG" + b"Song".ljust(30, b"\0") + bytes(64) + b"Nice".ljust(30, b"\0") + b"\xff"
    path.write_bytes(path.read_bytes() + tag)
    assert read_tags(path).fields == {"title": ("Song",), "comment": ("Nice",)}


def test_what_a_format_has_no_place_for_is_told(tmp_path: Path) -> None:
    odd = Tags({"title": ("Song",), "tracknumber": ("A1",), "bpm": ("fast",)})
    path = song(tmp_path, "m4a")
    assert write_tags(path, odd) == (
        "tracknumber 'A1': MP4 has no place for it",
        "bpm 'fast': MP4 has no place for it",
    )
    assert read_tags(path).fields == {"title": ("Song",)}
    path = song(tmp_path, "mp3")
    left_out = write_tags(path, Tags({"title": ("Song",), "date": ("last summer",)}))
    assert left_out == ("date 'last summer': ID3 has no place for it",)
    assert read_tags(path).fields == {"title": ("Song",)}


@pytest.mark.parametrize("number", ["0", "70000", "3/70000", "-1", "3/x", "3/", "03/012"])
@pytest.mark.parametrize("name", FORMATS)
def test_odd_numbers_never_stop(number: str, name: str, tmp_path: Path) -> None:
    path = song(tmp_path, name, 100)
    fields = {"title": ("Song",), "tracknumber": (number,), "bpm": ("99999",)}
    write_tags(path, Tags(fields))
    assert read_tags(path).fields["title"] == ("Song",)


def test_a_wav_past_4_gb_has_no_place_for_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = song(tmp_path, "wav")
    monkeypatch.setattr(audio_tags, "_MAX_WAV_BYTES", path.stat().st_size + 1000)
    assert write_tags(path, FULL) == ("all tags: with them, the WAV would pass 4 GB",)
    path.write_bytes(b"RF64" + path.read_bytes()[4:])
    before = path.read_bytes()
    assert write_tags(path, FULL) == ("all tags: a WAV of more than 4 GB has no place for them",)
    assert path.read_bytes() == before


def test_large_and_unknown_pictures_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = song(tmp_path, "flac")
    write_tags(path, Tags({"title": ("Song",)}, Picture(png(200, 200))))
    monkeypatch.setattr(audio_tags, "MAX_PICTURE_BYTES", 2**16)
    tags = read_tags(path)
    assert tags.cover is None
    assert tags.fields == {"title": ("Song",)}
    assert tags.left_out == ("cover: 0.1 MiB, more than 0.0625 MiB",)
    file = mutagen.File(path)
    file.clear_pictures()
    picture = flac.Picture()
    picture.type, picture.mime, picture.data = 3, "image/jpeg", b"<html>not found</html>"
    file.add_picture(picture)
    file.save()
    assert read_tags(path).left_out == ("cover: neither a JPEG nor a PNG picture",)


def test_endless_texts_are_left_out(tmp_path: Path) -> None:
    path = song(tmp_path, "flac")
    write_tags(path, Tags({"title": ("Song",), "comment": ("x" * 70_000,)}))
    tags = read_tags(path)
    assert tags.fields == {"title": ("Song",)}
    assert tags.left_out == ("comment: longer than 65536 characters",)


def test_texts_that_no_format_holds_are_cleaned(tmp_path: Path) -> None:
    path = song(tmp_path, "flac")
    file = flac.FLAC(path)
    file["title"], file["artist"] = "So\0ng ", [" ", "\0"]
    file.save()
    assert read_tags(path).fields == {"title": ("So ng",)}


def damaged(path: Path) -> list[bytes]:
    """Return versions of a tagged file whose first bytes are damaged, another way each."""
    content = path.read_bytes()
    random = np.random.default_rng(0)
    versions = []
    for _ in range(12):
        broken = np.frombuffer(content, np.uint8).copy()
        places = random.integers(4, min(3000, len(content)), 40)
        broken[places] = random.integers(0, 256, len(places))
        versions.append(broken.tobytes())
    return [*versions, content[:200], content[:-50]]


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_tags_never_stop_a_stem(name: str, tmp_path: Path) -> None:
    path, stem = song(tmp_path, name, 3000), tmp_path / "stem.flac"
    write_tags(path, FULL)
    for version in damaged(path):
        path.write_bytes(version)
        tags = read_tags(path)
        texts = [text for values in tags.fields.values() for text in values]
        assert all(text.encode("utf-8") and "\0" not in text for text in texts)
        assert tags.cover is None or tags.cover.mime is not None
        write_audio(stem, torch.zeros(2, 100), RATE)
        write_tags(stem, tags)
        assert read_audio(stem)[0].shape == (2, 100)
        assert list(read_tags(stem).fields) == list(tags.fields)


def test_damage_is_told_with_its_reason(tmp_path: Path) -> None:
    path = song(tmp_path, "ogg")
    file = oggvorbis.OggVorbis(path)
    file["title"], file["metadata_block_picture"] = "Song", "AAAA"
    file.save()
    tags = read_tags(path)
    assert tags.fields == {"title": ("Song",)}  # by FFmpeg
    assert len(tags.left_out) == 1
    assert tags.left_out[0].startswith("tags: damaged, some may be missing (")
    text = tmp_path / "notes.mp3"
    text.write_text("no audio")
    assert len(read_tags(text).left_out) == 2
    missing = read_tags(tmp_path / "missing.flac")
    assert any("No such file" in fault for fault in missing.left_out)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.flac: its tags can't be written"):
        write_tags(tmp_path / "x.flac", FULL)


def test_ids_and_levels_of_the_recording_are_not_copied(tmp_path: Path) -> None:
    path = song(tmp_path, "m4a")
    file = mp4.MP4(path)
    file["\xa9nam"] = ["Song"]
    file["----:com.apple.iTunes:replaygain_track_gain"] = [b"-7 dB"]
    file["----:com.apple.iTunes:ISRC"] = [b"X"]
    file.save()
    assert read_tags(path).fields == {"title": ("Song",)}


def test_wav_tags_stand_behind_the_samples(tmp_path: Path) -> None:
    path = song(tmp_path, "wav16")
    before = path.read_bytes()
    write_tags(path, FULL)
    assert path.read_bytes()[8 : len(before)] == before[8:]
    assert wave.WAVE(path).tags["TIT2"].text == list(TEXTS["title"])
