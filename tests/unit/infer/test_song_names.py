from pathlib import Path

import pytest

from mss.core.errors import ConfigError
from mss.infer.song_names import song_names


def names(*paths: str) -> list[str]:
    return list(song_names([Path(path) for path in paths]).values())


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/m/a.wav", "/m/b.mp3"], ["a", "b"]),
        (["/m/a.wav", "/m/a.mp3", "/m/b.mp3"], ["a.wav", "a.mp3", "b"]),
        (["/m/one/mixture.wav", "/m/two/mixture.wav"], ["one - mixture.wav", "two - mixture.wav"]),
        (["/m/Song.wav", "/m/song.flac"], ["Song.wav", "song.flac"]),
        (["/m/a.wav", "/m/a.mp3", "/m/a.mp3.flac"], ["a.wav", "m - a.mp3", "a.mp3"]),
        (["/m/a.wav", "/m/a.wav", "/m/x/../a.wav"], ["a"]),
        (["/m/..wav", "/m/...wav", "/m/.hidden.wav"], ["..wav", "...wav", ".hidden"]),
    ],
)
def test_no_two_songs_share_a_folder(paths: list[str], expected: list[str]) -> None:
    assert names(*paths) == expected


def test_songs_that_can_not_be_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"two calls"):
        names("/m/disc/01.wav", "/n/disc/01.wav")
