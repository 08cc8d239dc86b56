"""Random excerpts: a function of (seed, epoch, index) and nothing else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.data.folder import FolderDataset
from mss.data.segments import SegmentDataset, collate
from mss.data.tracks import TrackSet

LENGTHS = {"long": 3000, "middle": 2000, "short": 1000}


@pytest.fixture(scope="module")
def songs() -> dict[str, dict[str, np.ndarray]]:
    return {}


@pytest.fixture
def tracks(tmp_path: Path, cache_folder: Path, write_song, songs) -> TrackSet:
    for seed, (name, frames) in enumerate(LENGTHS.items()):
        songs[name] = write_song(tmp_path / "set" / "train" / name, frames, seed)
    write_song(tmp_path / "set" / "valid" / "v", 100, 9)
    return FolderDataset(FolderDataset.Config(root=str(tmp_path / "set"))).split("train")


def test_items_are_excerpts_of_all_stems_at_one_place(tracks: TrackSet, songs) -> None:
    dataset = SegmentDataset(tracks, 700, 20, seed=3)
    for index in range(20):
        track_index, start = dataset.locate(1, index)
        item = dataset[(1, index)]
        song = songs[tracks.tracks[track_index].name]
        assert item.names == tracks.stems
        assert item.stems.dtype == torch.float32
        assert item.stems.shape == (4, 2, 700)
        for stem, audio in zip(item.names, item.stems, strict=True):
            expected = torch.from_numpy(song[stem][start : start + 700].T / 32768).float()
            assert torch.equal(audio, expected)
        assert item.trust.eq(1).all()


def test_items_do_not_depend_on_what_was_read_before(tracks: TrackSet) -> None:
    one, other = (SegmentDataset(tracks, 300, 8, seed=0) for _ in range(2))
    forwards = [one[(2, index)].stems for index in range(8)]
    torch.manual_seed(99)
    np.random.seed(99)
    other[(0, 5)]
    backwards = [other[(2, index)].stems for index in reversed(range(8))]
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
def test_seed_and_epoch_change_the_excerpts(tracks: TrackSet, change: dict[str, int]) -> None:
    def places(seed: int = 0, epoch: int = 0) -> list[tuple[int, int]]:
        dataset = SegmentDataset(tracks, 300, 50, seed)
        return [dataset.locate(epoch, index) for index in range(50)]

    same = sum(a == b for a, b in zip(places(), places(**change), strict=True))
    assert same <= 2  # by chance, of 50 places among thousands


def test_every_second_counts_the_same_in_every_epoch(tracks: TrackSet) -> None:
    dataset = SegmentDataset(tracks, 100, 60, seed=0)
    for epoch in range(5):
        seen = Counter(dataset.locate(epoch, index)[0] for index in range(60))
        # 3000, 2000 and 1000 of 6000 samples: stratified draws meet the shares to within one item
        for song, share in enumerate((30, 20, 10)):
            assert abs(seen[song] - share) <= 1


def test_order_of_songs_is_shuffled(tracks: TrackSet) -> None:
    dataset = SegmentDataset(tracks, 100, 60, seed=0)
    order = [dataset.locate(0, index)[0] for index in range(60)]
    assert order != sorted(order)


def test_offsets_reach_both_ends(tracks: TrackSet) -> None:
    dataset = SegmentDataset(tracks, 990, 2000, seed=0)
    starts = {start for song, start in (dataset.locate(0, i) for i in range(2000)) if song == 2}
    assert starts == set(range(11))  # 1000 - 990, both ends included


def test_short_songs_are_padded_with_zeros(tracks: TrackSet, songs) -> None:
    dataset = SegmentDataset(tracks, 1500, 60, seed=0, normalise="file_mono_std")
    index = next(i for i in range(60) if dataset.locate(0, i)[0] == 2)
    stems = dataset[(0, index)].stems
    assert stems.shape == (4, 2, 1500)
    assert not stems[..., 1000:].any()
    assert stems[..., :1000].abs().amax(dim=-1).min() > 0


def test_normalised_by_the_whole_file(tracks: TrackSet) -> None:
    plain = SegmentDataset(tracks, 500, 4, seed=0)
    scaled = SegmentDataset(tracks, 500, 4, seed=0, normalise="file_mono_std")
    for index in range(4):
        track = tracks.tracks[plain.locate(0, index)[0]]
        mixture = track.read("mixture").double().mean(dim=0)
        expected = (plain[(0, index)].stems.double() - mixture.mean()) / mixture.std()
        # float32 of values below 10
        torch.testing.assert_close(
            scaled[(0, index)].stems.double(), expected, rtol=1e-6, atol=1e-6
        )


class Noise:
    """A loader augmentation that gives one number of its generator, and 30 samples less."""

    extra_frames = 30

    def __call__(
        self, stems: Tensor, names: tuple[str, ...], generator: np.random.Generator
    ) -> Tensor:
        assert len(names) == len(stems)
        return torch.full_like(stems[..., : stems.shape[-1] - 30], generator.random())


def test_loader_augment_has_a_generator_of_the_items_own(tracks: TrackSet) -> None:
    dataset = SegmentDataset(tracks, 100, 8, seed=0, loader_augment=Noise())
    values = [dataset[(0, index)].stems[0, 0, 0].item() for index in range(8)]
    assert len(set(values)) == 8
    assert values == [dataset[(0, index)].stems[0, 0, 0].item() for index in range(8)]
    assert dataset[(0, 0)].stems.shape == (4, 2, 100)


def test_what_an_augmentation_shortens_is_read_in_addition(tracks: TrackSet) -> None:
    seen = []

    class Crop(Noise):
        def __call__(
            self, stems: Tensor, names: tuple[str, ...], generator: np.random.Generator
        ) -> Tensor:
            seen.append(stems)
            return stems[..., 30:]

    dataset = SegmentDataset(tracks, 100, 8, seed=0, loader_augment=Crop())
    item = dataset[(0, 3)]
    track, start = dataset.locate(0, 3)
    assert seen[-1].shape[-1] == 130
    assert torch.equal(item.stems, tracks.tracks[track].read_stems(start + 30, 100))


def test_collate_sums_all_stems(tracks: TrackSet) -> None:
    dataset = SegmentDataset(tracks, 100, 8, seed=0)
    batch = collate([dataset[(0, index)] for index in range(3)])
    assert batch.stems.shape == (3, 4, 2, 100)
    assert batch.trust.shape == (3, 4)
    assert batch.names == tracks.stems
    assert torch.equal(batch.mix, batch.stems.sum(dim=1))


def test_refuses_empty_segments_and_epochs(tracks: TrackSet) -> None:
    with pytest.raises(ConfigError, match="segment"):
        SegmentDataset(tracks, 0, 8, seed=0)
    with pytest.raises(ConfigError, match="items"):
        SegmentDataset(tracks, 100, 0, seed=0)
    with pytest.raises(IndexError):
        SegmentDataset(tracks, 100, 8, seed=0)[(0, 8)]
