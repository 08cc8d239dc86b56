"""Stems mapped to sources, and what is known of them."""

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.targets import TargetMap
from mss.core.types import Batch, Progress
from mss.distill.references import References

STEMS = ("drums", "bass", "other", "vocals")


def batch() -> Batch:
    stems = torch.randn(2, 4, 1, 8, generator=torch.Generator().manual_seed(0))
    trust = torch.ones(2, 4)
    trust[1, 1] = 0  # the bass of the second item is unknown
    return Batch(stems.sum(1), stems, STEMS, trust)


def test_sources_are_sums_of_their_stems():
    targets = TargetMap.make({"vocals": ["vocals"], "rest": ["drums", "bass"]}, STEMS)
    given = batch()
    target = References(targets)(given, None, Progress(0, 1))
    assert torch.equal(target.sources[:, 0], given.stems[:, 3])
    torch.testing.assert_close(target.sources[:, 1], given.stems[:, 0] + given.stems[:, 1])
    assert target.weight.tolist() == [[1, 1], [1, 0]]


def test_no_targets_is_each_stem_itself():
    targets = TargetMap.make({}, STEMS)
    assert targets.sources == STEMS
    given = batch()
    assert torch.equal(targets.sum_stems(given.stems, STEMS), given.stems)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"v": ["vocal"]}, r"targets\.v: .*'vocal'.*Did you mean 'vocals'"),
        ({"v": []}, r"targets\.v: names no stem"),
        ({"a": ["drums"], "b": ["drums"]}, r"targets\.b: .*already counts for 'a'"),
    ],
)
def test_a_wrong_map_is_explained(targets, message):
    with pytest.raises(ConfigError, match=message):
        TargetMap.make(targets, STEMS)
