"""Easy songs first."""

import math

import pytest
import torch

from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.data.folder import FolderDataset
from mss.data.segments import Beginning, SegmentDataset
from mss.distill.curriculum import CurriculumConfig, easiest, song_scores
from mss.metrics.energy import NSDR, do_nothing


@pytest.fixture
def tracks(tmp_path, cache_folder, write_song):
    for seed, name in enumerate("abcd"):
        write_song(tmp_path / "set" / "train" / name, 500 + 100 * seed, seed)
    write_song(tmp_path / "set" / "valid" / "v", 100, 9)
    return FolderDataset(FolderDataset.Config(root=str(tmp_path / "set"))).split("train")


def test_the_easiest_share_is_that_of_the_highest_scores():
    scores = {"a": 1.0, "b": 5.0, "c": math.nan, "d": 3.0}
    assert easiest(scores, 0.5) == {"b", "d"}
    assert easiest(scores, 0.75) == {"b", "d", "a"}
    assert easiest(scores, 0.01) == {"b"}
    assert easiest(scores, 1.0) == set("abcd")


def test_a_song_scores_what_its_mixture_does_at_its_best_gain(tracks):
    targets = TargetMap.make({}, tracks.stems)
    scores = song_scores(tracks, targets, "mixture")
    track = tracks.tracks[2]
    stems = track.read_stems()
    expected = NSDR()(stems, do_nothing(stems, stems.sum(dim=0)), 44100).mean()
    assert scores[track.name] == pytest.approx(expected.item(), abs=1e-3)


def test_a_model_judges_by_its_estimates_and_is_asked_once(tracks):
    targets = TargetMap.make({"vocals": ["vocals"]}, tracks.stems)
    asked = []

    def separate(mix):
        asked.append(mix.shape[-1])
        return torch.zeros(1, *mix.shape)

    scores = song_scores(tracks, targets, "digest", separate)
    assert all(score == pytest.approx(0.0, abs=1e-4) for score in scores.values())
    assert sorted(asked) == [500, 600, 700, 800]
    assert song_scores(tracks, targets, "digest", separate) == scores
    assert len(asked) == 4  # kept
    song_scores(tracks, targets, "another", separate)
    assert len(asked) == 8


def test_a_damaged_score_file_is_named(tracks, cache_folder):
    targets = TargetMap.make({}, tracks.stems)
    song_scores(tracks, targets, "mixture")
    (path,) = (cache_folder / "curriculum").iterdir()
    path.write_text("[")
    with pytest.raises(DataError, match="remove it, it is made again"):
        song_scores(tracks, targets, "mixture")


def test_the_first_epochs_hear_these_songs_alone_and_the_others_all(tracks):
    plain = SegmentDataset(tracks, 100, 40, seed=0)
    staged = SegmentDataset(tracks, 100, 40, seed=0, beginning=Beginning(2, frozenset({"b", "d"})))
    for epoch in range(2):
        heard = {tracks.tracks[staged.locate(epoch, i)[0]].name for i in range(40)}
        assert heard == {"b", "d"}
        for index in range(40):
            which, start = staged.locate(epoch, index)
            assert 0 <= start <= tracks.tracks[which].length - 100
    assert [staged.locate(2, i) for i in range(40)] == [plain.locate(2, i) for i in range(40)]


@pytest.mark.parametrize("values", [{"epochs": -1}, {"share": 0.0}, {"share": 1.5}])
def test_wrong_values_are_named(values):
    (key,) = values
    with pytest.raises(ConfigError, match=rf"distill\.curriculum\.{key}"):
        CurriculumConfig(**values)
