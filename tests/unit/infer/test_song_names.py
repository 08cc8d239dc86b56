"""What songs are called, and where their files go."""

from __future__ import annotations

from pathlib import Path

import pytest

from mss.core.errors import ConfigError
from mss.infer.song_names import NameTemplate, Song, check_places, song_names


def names(*paths: str | tuple[str, str]) -> list[str]:
    """Name files, each alone or with its folder beneath the one that was asked for."""
    songs = [
        Song(Path(path)) if isinstance(path, str) else Song(Path(path[0]), path[1])
        for path in paths
    ]
    return list(song_names(songs).values())


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/m/a.wav", "/m/b.mp3"], ["a", "b"]),
        (["/m/a.wav", "/m/a.mp3", "/m/b.mp3"], ["a.wav", "a.mp3", "b"]),
        (["/m/one/mixture.wav", "/m/two/mixture.wav"], ["one/mixture", "two/mixture"]),
        (["/m/Song.wav", "/m/song.flac"], ["Song.wav", "song.flac"]),
        (["/m/a.wav", "/m/a.wav", "/m/x/../a.wav"], ["a"]),
        (["/m/..wav", "/m/...wav", "/m/.hidden.wav"], ["..wav", "...wav", ".hidden"]),
        (["/m/disc/01.wav", "/n/disc/01.wav"], ["m/disc/01", "n/disc/01"]),
        (
            [("/m/x/1/01.wav", "x/1"), ("/m/x/2/01.wav", "x/2"), ("/m/y.wav", "")],
            ["x/1/01", "x/2/01", "y"],
        ),
        ([("/m/d/01.wav", "d"), ("/n/d/01.wav", "d")], ["m/d/01", "n/d/01"]),
    ],
)
def test_no_two_songs_share_a_name(paths: list[str], expected: list[str]) -> None:
    assert names(*paths) == expected


def test_songs_that_differ_in_case_alone() -> None:
    with pytest.raises(ConfigError, match=r"upper and lower case"):
        names("/m/disc/01.wav", "/m/Disc/01.wav")


@pytest.mark.parametrize(
    ("template", "folder", "expected"),
    [
        ("{song}/{stem}.{ext}", "a/b", "one/bass.wav"),
        ("{folder}/{song}/{stem}.{ext}", "a/b", "a/b/one/bass.wav"),
        ("{folder}/{song}/{stem}.{ext}", "", "one/bass.wav"),
        ("{model}/{stem}/{song}.{ext}", "", "m1/bass/one.wav"),
        ("./{song}_{stem}.{ext}", "", "one_bass.wav"),
        ("{{{song}}} {stem}.{ext}", "", "{one} bass.wav"),
    ],
)
def test_places(template: str, folder: str, expected: str) -> None:
    place = NameTemplate(template).place("one", "bass", "wav", "m1", folder)
    assert place == Path(expected)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{artist}/{stem}.{ext}", r"no \{artist\}.*Known: ext, folder, model, song, stem"),
        ("{sing}/{stem}.{ext}", "Did you mean 'song'"),
        ("{song.parent}/{stem}.{ext}", r"no \{song.parent\}"),
        ("{}/{stem}.{ext}", r"no \{\}"),
        ("{song!r}/{stem}.{ext}", "takes no format"),
        ("{song:>30}/{stem}.{ext}", "takes no format"),
        ("{song/{stem}.{ext}", "a field is {song}"),
        ("{song}/{stem}.wav", "must end in"),
        ("{song}/{stem}{ext}", "must end in"),
        ("/{song}/{stem}.{ext}", "out of the output folder"),
        ("../{song}/{stem}.{ext}", "out of the output folder"),
        ("a\\..\\{song}/{stem}.{ext}", "out of the output folder"),
        ("C:/{song}/{stem}.{ext}", "out of the output folder"),
        ("\\\\host\\share\\{song}{stem}.{ext}", "out of the output folder"),
    ],
)
def test_templates_that_are_refused(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NameTemplate(template)


@pytest.mark.parametrize("song", ["..", "../x", "a/../../x"])
def test_no_value_leads_out_either(song: str) -> None:
    with pytest.raises(ConfigError, match="out of the output folder"):
        NameTemplate().place(song, "bass", "wav")


def test_two_files_of_one_path_are_refused() -> None:
    template = NameTemplate("{song}_{stem}.{ext}")
    places = [template.place(*pair, "wav") for pair in (("a_b", "c"), ("A", "b_c"))]
    with pytest.raises(ConfigError, match=r"two files would become A_b_c\.wav"):
        check_places(places, template)
    check_places(places[:1], template)
