"""Two kinds of items in one epoch."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mss.core.errors import DataError
from mss.data.folder import FolderDataset
from mss.data.mixed import MixedSegments, Shares, UnlabelledSegments
from mss.data.segments import SegmentDataset, collate
from mss.data.silent import SilentSpan, SilentStemSegments, joined

FRAMES = 50


@pytest.fixture
def tracks(tmp_path, cache_folder, write_song):
    def made(name, seed, frames=400):
        root = tmp_path / name
        for index in range(3):
            write_song(root / "train" / f"{name}{index}", frames, seed + index)
        return FolderDataset(FolderDataset.Config(root=str(root)), name=name).every_song()

    return made


@pytest.fixture
def recordings(tmp_path, cache_folder, write_song):
    """Three songs of which the mixture alone is there."""
    root = tmp_path / "recordings"
    for index in range(3):
        write_song(root / f"r{index}", 600, 50 + index, stems=("mixture",), mixture=False)
    config = FolderDataset.Config(root=str(root), stems=("mixture",), mixture="")
    return FolderDataset(config, name="recordings").every_song()


@given(
    share=st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50),
    group=st.integers(1, 8),
    items=st.integers(1, 400),
)
def test_each_item_is_one_of_its_kind_and_the_share_is_kept(share, group, items):
    shares = Shares(share, group)
    kinds = [shares.second(index) for index in range(items)]
    first, second = shares.counts(items)
    assert (kinds.count(False), kinds.count(True)) == (first, second)
    for kind in (False, True):
        places = [shares.place(i) for i in range(items) if kinds[i] is kind]
        assert places == list(range(len(places)))
    for index in range(items):  # a group is of one kind
        assert kinds[index] == kinds[index - index % group]
    for count in range(items + 1):
        assert abs(sum(kinds[:count]) - share * count) <= group


def test_items_are_those_of_the_two_sets_in_turn(tracks):
    shares, items = Shares(Fraction(1, 3), 2), 24
    counts = shares.counts(items)
    first = SegmentDataset(tracks("one", 0), FRAMES, counts[0], seed=1)
    second = SegmentDataset(tracks("two", 10), FRAMES, counts[1], seed=2)
    mixed = MixedSegments(first, second, shares, items)
    assert len(mixed) == items
    assert [shares.second(i) for i in range(12)] == [False] * 4 + [True] * 2 + [False] * 4 + [
        True,
        True,
    ]
    assert torch.equal(mixed[3, 4].stems, second[3, 0].stems)
    assert torch.equal(mixed[3, 6].stems, first[3, 4].stems)
    assert mixed.stems == first.stems


def test_a_recording_is_the_rest_and_its_stems_are_unknown(tracks, recordings):
    labelled = SegmentDataset(tracks("one", 0), FRAMES, 2, seed=1)
    heard = SegmentDataset(recordings, FRAMES, 2, seed=2)
    unlabelled = UnlabelledSegments(heard, labelled.stems)
    batch = collate([labelled[0, 0], unlabelled[0, 0]])
    assert torch.equal(batch.rest[1], heard[0, 0].stems[0])
    assert batch.rest[0].abs().sum() == 0
    assert torch.equal(batch.mix[1], batch.rest[1])
    assert torch.equal(batch.mix[0], labelled[0, 0].stems.sum(dim=0))
    assert batch.trust.tolist() == [[1] * 4, [0] * 4]
    assert batch.unlabelled.tolist() == [False, True]


def test_spans_that_touch_are_one():
    spans = [SilentSpan("a", "bass", 100, 100), SilentSpan("a", "bass", 0, 100)]
    spans += [SilentSpan("a", "drums", 200, 10), SilentSpan("a", "bass", 150, 100)]
    spans += [SilentSpan("b", "bass", 250, 100)]
    assert joined(spans) == [
        SilentSpan("a", "bass", 0, 250),
        SilentSpan("a", "drums", 200, 10),
        SilentSpan("b", "bass", 250, 100),
    ]


def test_a_labelled_stem_lies_where_that_stem_is_silent(tracks, recordings):
    labelled = SegmentDataset(tracks("one", 0), FRAMES, 30, seed=1)
    spans = [
        SilentSpan("r1", "bass", 100, FRAMES + 20),
        SilentSpan("r2", "vocals", 300, 2 * FRAMES),
        SilentSpan("r0", "drums", 0, FRAMES - 1),  # too short
    ]
    items = SilentStemSegments(recordings, spans, labelled, 60, seed=5)
    places = {name: set() for name in ("bass", "vocals")}
    for index in range(60):
        item = items[2, index]
        (stem,) = item.trust.nonzero().flatten().tolist()
        name = labelled.stems[stem]
        song, first, frames = {"bass": ("r1", 100, 70), "vocals": ("r2", 300, 100)}[name]
        track = next(t for t in recordings.tracks if t.name == song)
        whole = track.read_stems()[0]
        starts = [
            start
            for start in range(first, first + frames - FRAMES + 1)
            if torch.equal(item.rest, whole[:, start : start + FRAMES])
        ]
        assert len(starts) == 1
        places[name].add(starts[0])
        others = [k for k in range(4) if k != stem]
        assert item.stems[stem].any()
        assert not item.stems[others].any()
    assert len(places["bass"]) > 5
    assert len(places["vocals"]) > 5
    again = SilentStemSegments(recordings, spans, labelled, 60, seed=5)
    assert torch.equal(again[2, 7].stems, items[2, 7].stems)
    assert torch.equal(again[2, 7].rest, items[2, 7].rest)


def test_a_stem_that_is_not_trusted_is_not_taught(tracks, recordings):
    spans = [SilentSpan("r1", "bass", 0, 200)]

    def never(track, start, frames):
        return torch.zeros(4)

    half = SegmentDataset(tracks("one", 0), FRAMES, 30, seed=1, trust=never)
    items = SilentStemSegments(recordings, spans, half, 4, seed=5)
    assert items[0, 0].trust.tolist() == [0] * 4


def test_silence_that_is_too_short_is_told(tracks, recordings):
    labelled = SegmentDataset(tracks("one", 0), FRAMES, 30, seed=1)
    with pytest.raises(DataError, match=r"recordings: no part .* as long as a segment"):
        SilentStemSegments(recordings, [SilentSpan("r0", "drums", 0, 49)], labelled, 4, seed=0)


def test_fixed_crops_come_back_in_every_epoch_in_another_order(tracks):
    dataset = SegmentDataset(tracks("one", 0), FRAMES, 12, seed=1, fixed=True)
    epochs = [[dataset[epoch, index] for index in range(12)] for epoch in range(3)]
    orders = [[item.crop for item in items] for items in epochs]
    assert [sorted(order) for order in orders] == [list(range(12))] * 3
    assert orders[0] != orders[1] != orders[2]
    by_crop = [{item.crop: item.stems for item in items} for items in epochs]
    for crop in range(12):
        assert torch.equal(by_crop[0][crop], by_crop[1][crop])
        assert torch.equal(by_crop[0][crop], by_crop[2][crop])
    assert collate(epochs[1]).crops.tolist() == orders[1]
    assert collate([SegmentDataset(tracks("two", 9), FRAMES, 2, seed=1)[0, 0]]).crops is None
