"""What a separator finds in each stem, over one song and over many."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.eval.stem_contents import (
    UNEXPLAINED,
    StemContents,
    aggregate_contents,
    contents_of_track,
    contents_of_tracks,
    strongest_leaks,
)

STEMS = ("drums", "bass", "other", "vocals")
SOURCES = ("vocals", "rest")


def gains(*values: float) -> Any:
    """A separator whose sources are the mixture at fixed gains."""
    return lambda mix: torch.stack([value * mix for value in values])


def test_energies_of_one_song(make_song: Any) -> None:
    song = make_song(silent=("bass",))
    contents = contents_of_track(gains(0.1, 0.7), SOURCES, song)
    assert [found.stem for found in contents] == list(STEMS)
    for found in contents:
        if found.stem == "bass":
            assert (found.energy, found.shares) == (0, {})
            continue
        assert found.track == song.name
        assert found.energy == pytest.approx(song.waves[found.stem].double().square().sum().item())
        assert list(found.shares) == [*SOURCES, UNEXPLAINED]
        assert found.shares == pytest.approx({"vocals": 0.01, "rest": 0.49, UNEXPLAINED: 0.04})
        assert found.levels["vocals"] == pytest.approx(-20)
        assert found.levels[UNEXPLAINED] == pytest.approx(20 * math.log10(0.2))
    # each stem is read alone, never the mixture
    assert song.reads == list(STEMS)


def test_what_is_separated_is_one_stem_alone(make_song: Any) -> None:
    song = make_song()
    heard: list[Tensor] = []

    def left_and_right(mix: Tensor) -> Tensor:
        heard.append(mix)
        left = mix.clone()
        left[1] = 0
        return torch.stack([left, mix - left])

    song.waves["drums"][1] = 0
    contents = contents_of_track(left_and_right, ("left", "right"), song)
    for mix, stem in zip(heard, STEMS, strict=True):
        assert torch.equal(mix, song.waves[stem])
    drums, bass = contents[0].levels, contents[1]
    assert drums == pytest.approx({"left": 0, "right": -120, UNEXPLAINED: -120}, abs=1e-6)
    assert bass.shares["left"] + bass.shares["right"] == pytest.approx(1)
    right = song.waves["bass"][1].double().square().sum().item() / bass.energy
    assert bass.shares["right"] == pytest.approx(right)


def contents_of(track: str, stem: str, energy: float, vocals: float) -> StemContents:
    if energy == 0:
        return StemContents(track, stem, 0.0, {})
    return StemContents(
        track, stem, energy, {"vocals": vocals, "rest": 1 - vocals, UNEXPLAINED: 0.0}
    )


CONTENTS = (
    contents_of("a", "drums", 1.0, 0.5),
    contents_of("b", "drums", 1.0, 0.1),
    contents_of("c", "drums", 1000.0, 0.001),
    contents_of("d", "drums", 0.0, math.nan),
    contents_of("a", "bass", 0.0, math.nan),
    contents_of("b", "bass", 2.0, 0.2),
    contents_of("c", "bass", 3.0, 0.02),
    contents_of("d", "bass", 0.0, math.nan),
)


def test_songs_are_aggregated() -> None:
    drums, bass, other = aggregate_contents(CONTENTS, ("drums", "bass", "other"), SOURCES)
    assert drums.median["vocals"] == pytest.approx(-10)
    assert drums.pooled["vocals"] == pytest.approx(10 * math.log10((0.5 + 0.1 + 1) / 1002))
    assert drums.pooled["rest"] == pytest.approx(10 * math.log10((0.5 + 0.9 + 999) / 1002))
    assert drums.median[UNEXPLAINED] == drums.pooled[UNEXPLAINED] == -120
    assert (drums.songs, drums.silent) == (3, 1)
    # of two songs, the middle of the energies
    assert bass.median["vocals"] == pytest.approx(10 * math.log10(0.11))
    assert (bass.songs, bass.silent) == (2, 2)
    assert (other.songs, other.silent) == (0, 0)
    assert all(math.isnan(value) for row in (other.median, other.pooled) for value in row.values())


def test_the_strongest_leaks() -> None:
    targets = TargetMap.make({"vocals": ["vocals"], "rest": ["bass"]}, STEMS)
    leaks = strongest_leaks(CONTENTS, targets, 4)
    assert [(leak.track, leak.stem, leak.source) for leak in leaks] == [
        ("c", "drums", "rest"),
        ("b", "drums", "rest"),
        ("a", "drums", "vocals"),
        ("a", "drums", "rest"),
    ]
    assert leaks[2].level == pytest.approx(10 * math.log10(0.5))
    # a source that no stem belongs to may be anywhere
    alone = strongest_leaks(CONTENTS, TargetMap.make({"vocals": ["vocals"]}, STEMS), 99)
    assert {leak.source for leak in alone} == {"vocals"}
    assert len(alone) == 5


def test_every_stem_of_every_song(make_song: Any) -> None:
    songs = [make_song("a", 1), make_song("b", 2, silent=("other",))]
    contents = contents_of_tracks(gains(0.5, 0.5), SOURCES, songs)
    assert [found.track for found in contents] == ["a"] * 4 + ["b"] * 4
    assert [found.energy > 0 for found in contents] == [True] * 6 + [False, True]


def test_mistakes(make_song: Any) -> None:
    with pytest.raises(DataError, match="0 tracks"):
        contents_of_tracks(gains(1, 1), SOURCES, [])
    with pytest.raises(DataError, match="song: the model gave samples of 'drums'"):
        contents_of_track(gains(1, math.nan), SOURCES, make_song())
