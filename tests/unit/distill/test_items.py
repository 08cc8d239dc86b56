"""The training items of a run, and what they are locked to."""

import re
from dataclasses import replace

import pytest
import soundfile

from mss.core.errors import ConfigError, DataError
from mss.core.targets import TargetMap
from mss.data.folder import FolderDataset
from mss.data.segments import Beginning
from mss.data.stand_ins import StandIns
from mss.distill.items import ItemPlan, training_items
from mss.distill.silent_stem import SilentStemConfig
from mss.distill.unlabelled import RemixItConfig

PLAN = ItemPlan(100, 48, seed=3, batch_size=16, group=8)


@pytest.fixture
def tracks(tmp_path, cache_folder, write_song):
    for seed, song in enumerate(("train/a", "train/b", "valid/v")):
        write_song(tmp_path / "data" / song, 500, seed)
    return FolderDataset(FolderDataset.Config(root=str(tmp_path / "data"))).split("train")


def items_of(tracks, config, plan=PLAN):
    return training_items(tracks, TargetMap.make({}, tracks.stems), plan, config)


def test_the_songs_of_the_first_epochs_are_part_of_what_a_run_is_locked_to(tracks, recordings):
    """Other weights under a judge's name choose others."""
    config = RemixItConfig(songs="found", root=str(recordings))
    for added in (None, config):
        assert items_of(tracks, added).fingerprints == ()
        marks = [
            items_of(tracks, added, replace(PLAN, beginning=Beginning(2, frozenset(songs))))
            for songs in ("a", "b", "ab", "ba")
        ]
        found = [items.fingerprints for items in marks]
        assert len(set(found)) == 3
        assert found[2] == found[3]


def test_a_curriculum_of_songs_with_wrong_stems_is_refused(tracks):
    stand_ins = StandIns(tracks.tracks, {"a": frozenset({"bass"})})
    plan = replace(PLAN, stand_ins=stand_ins, beginning=Beginning(2, frozenset("a")))
    with pytest.raises(ConfigError, match=r"distill.curriculum.epochs: songs with wrong stems"):
        items_of(tracks, None, plan)


@pytest.mark.parametrize("group_size", [2, 4, 8])
def test_every_group_that_remixit_exchanges_in_is_of_recordings_or_of_none(
    tracks, recordings, group_size
):
    """So there is always another recording to exchange with."""
    config = RemixItConfig(songs="found", root=str(recordings), share=0.4, group_size=group_size)
    items = items_of(tracks, config).segments
    kinds = [items[0, index].rest is not None for index in range(PLAN.items)]
    groups = [kinds[i : i + group_size] for i in range(0, PLAN.items, group_size)]
    assert {len(set(group)) for group in groups} == {1}
    assert any(kinds)


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (RemixItConfig, "augment.batch.remix.group_size and distill.group_size"),
        (SilentStemConfig, "augment.batch.remix.group_size"),
    ],
)
def test_batches_too_small_for_two_groups_are_told_what_would_do(tracks, recordings, config, keys):
    values = config(songs="found", root=str(recordings), share=0.5)
    small = replace(PLAN, group=4, batch_size=4)
    with pytest.raises(ConfigError, match=rf"train\.batch_size=8 .*a smaller {keys}$"):
        items_of(tracks, values, small)
    if config is RemixItConfig:  # the other one wants a list of silences
        assert len(items_of(tracks, values, replace(small, batch_size=8)).segments) == PLAN.items


def faults(recordings, write_song):
    missing = str(recordings / "nowhere")
    yield {"songs": "found", "root": missing}, r"distill\.root: .*nowhere: there is no such folder"
    empty = recordings.parent / "empty"
    empty.mkdir()
    yield {"songs": "found", "root": str(empty)}, r"distill\.root: 0 tracks in"
    write_song(recordings.parent / "stems" / "x", 500, mixture=False)
    stems = str(recordings.parent / "stems")
    yield {"songs": "found", "root": stems}, r"distill\.root: no track has a stem 'mixture'"
    yield {"songs": "found", "root": None}, r"distill\.root: not set"
    yield {"songs": None, "root": str(recordings)}, r"distill\.songs: not set"


@pytest.mark.parametrize("kind", [RemixItConfig, SilentStemConfig])
def test_what_is_wrong_with_the_songs_names_their_own_key(tracks, recordings, write_song, kind):
    for values, message in faults(recordings, write_song):
        with pytest.raises((ConfigError, DataError), match=message) as raised:
            items_of(tracks, kind(**values))
        assert not re.search(r"dset\.(root|stems)", str(raised.value))


def test_songs_of_another_sample_rate_are_not_to_be_read_as_such(tracks, tmp_path, write_song):
    root = tmp_path / "slow"
    write_song(root / "x", 500, stems=("mixture",), mixture=False, samplerate=32000)
    with pytest.raises(DataError, match=r"has 32000 Hz, not 44100 Hz.*ffmpeg") as raised:
        items_of(tracks, RemixItConfig(songs="found", root=str(root)))
    assert "samplerate=" not in str(raised.value)


def test_copies_that_would_round_name_their_own_key(tracks, tmp_path, write_song):
    root = tmp_path / "fine"
    write_song(root / "x", 500, stems=("mixture",), mixture=False)
    samples, rate = soundfile.read(root / "x" / "mixture.wav")
    soundfile.write(root / "x" / "mixture.wav", samples * 0.3333, rate, subtype="FLOAT")
    with pytest.raises(ConfigError, match=r"distill\.cache: int16 .*distill\.cache=float32"):
        items_of(tracks, RemixItConfig(songs="found", root=str(root), cache="int16"))
