"""Stems in a folder as estimates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError
from mss.eval.estimators import SeparatedStems, Song, read_song

RATE = 1000


def write(path: Path, wave: Tensor, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T.numpy(), rate, subtype="FLOAT")


def songs_of(make_song: Any) -> list[Any]:
    return [make_song("a", 1), make_song("b", 2)]


def song(track: Any) -> Song:
    waves = torch.stack(list(track.waves.values()))
    return Song(track, waves.sum(0), waves[:2])


@pytest.mark.parametrize("layout", ["", "test"])
def test_stems_of_each_song(tmp_path: Path, make_song: Any, layout: str) -> None:
    tracks = songs_of(make_song)
    waves = {}
    for track in tracks:
        for source in ("vocals", "bass"):
            waves[track.name, source] = track.waves[source] * 0.5
            write(tmp_path / layout / track.name / f"{source}.wav", waves[track.name, source])
        write(tmp_path / layout / track.name / "mixture.wav", track.waves["bass"])
    stems = SeparatedStems(tmp_path, "test", tracks, ("drums", "bass", "vocals"))
    assert stems.sources == ("bass", "vocals")  # in the order that was asked for
    for track in tracks:
        given = stems(song(track))
        expected = torch.stack([waves[track.name, source] for source in stems.sources])
        assert torch.equal(given, expected)
    assert stems.left_out is not None
    assert "no song has such a file: drums" in stems.left_out
    before = stems.content(tracks)
    assert before == stems.content(tracks) != stems.content(tracks[:1])
    write(tmp_path / layout / "a" / "bass.wav", waves["a", "bass"] * 0.5)
    assert stems.content(tracks) != before


def test_lossy_padding_is_cut_and_filled(tmp_path: Path, make_song: Any) -> None:
    (track,) = tracks = [make_song("a")]
    wave = track.waves["bass"]
    write(tmp_path / "a" / "bass.wav", torch.nn.functional.pad(wave, (0, 57)))
    write(tmp_path / "a" / "vocals.wav", wave[:, :-20])
    given = SeparatedStems(tmp_path, "test", tracks, ("bass", "vocals"))(song(track))
    assert torch.equal(given[0], wave)
    assert torch.equal(given[1, :, :-20], wave[:, :-20])
    assert not given[1, :, -20:].any()


def remove_song(root: Path, wave: Tensor) -> None:
    (root / "b" / "bass.wav").unlink()


def remove_stem(root: Path, wave: Tensor) -> None:
    write(root / "a" / "vocals.wav", wave)


def rename(root: Path, wave: Tensor) -> None:
    for name in ("a", "b"):
        (root / name / "bass.wav").rename(root / name / "Bass (1).wav")


def other_rate(root: Path, wave: Tensor) -> None:
    write(root / "a" / "bass.wav", wave, 2 * RATE)


def mono(root: Path, wave: Tensor) -> None:
    write(root / "a" / "bass.wav", wave[:1])


def shorter(root: Path, wave: Tensor) -> None:
    write(root / "a" / "bass.wav", wave[:, : RATE // 2])


def only_train(root: Path, wave: Tensor) -> None:
    write(root / "train" / "a" / "bass.wav", wave)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (remove_song, "holds no folder 'b' with the stems of that song"),
        (remove_stem, r"track 'b': the stem 'vocals' is missing"),
        (rename, "no song has a stem named bass or vocals"),
        (other_rate, r"bass\.wav: has 2000 Hz, the data set 1000"),
        (mono, r"bass\.wav: has 1 channels, the data set 2"),
        (shorter, r"bass\.wav: has 500 samples, the song 3000"),
        (only_train, "has no folder 'test', the split that is scored"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, make_song: Any, fault: Callable[[Path, Tensor], None], message: str
) -> None:
    tracks = songs_of(make_song)
    for track in tracks:
        write(tmp_path / track.name / "bass.wav", track.waves["bass"])
    fault(tmp_path, tracks[0].waves["bass"])
    with pytest.raises((ConfigError, DataError), match=message):
        SeparatedStems(tmp_path, "test", tracks, ("bass", "vocals"))(song(tracks[0]))


def test_no_folder(tmp_path: Path, make_song: Any) -> None:
    with pytest.raises(DataError, match=r"--estimates: .*there is no such folder"):
        SeparatedStems(tmp_path / "x", "test", songs_of(make_song), ("bass",))


def test_references_are_sums_of_stems(make_song: Any) -> None:
    from mss.core.targets import TargetMap

    track = make_song()
    targets = TargetMap.make({"rhythm": ["drums", "bass"]}, track.stems)
    read = read_song(track, targets)
    expected = track.waves["drums"] + track.waves["bass"]
    torch.testing.assert_close(read.references, expected[None])
