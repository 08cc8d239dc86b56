"""What a song's pseudo-labels were made from: any other makes another key, and says which."""

import json
from dataclasses import replace

import pytest
from tiny_release import make_repo

from mss.core.audio_formats import parse_format
from mss.distill import pseudo_provenance
from mss.distill.pseudo_provenance import Provenance
from mss.distill.quality.config import QualityConfig
from mss.distill.quality.regressor import RidgeRegressor
from mss.distill.release_digest import release_digest
from mss.release.repo import Repo

REGRESSOR = RidgeRegressor(("energy",), (-9,), (9,), (0,), (1,), (2,), {"drums": 3.0}, 4.0)
MADE = Provenance(
    recording="aa",
    teacher="bb",
    scores=QualityConfig(scores=("energy", "agreement")),
    regressor=REGRESSOR,
    references={"drums.wav": "cc"},
    format=parse_format("flac"),
)


def kept(provenance):
    """As a file gives it back."""
    return json.loads(json.dumps(provenance.entries()))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"recording": "ab"}, "another recording"),
        ({"teacher": "ba"}, "another teacher"),
        ({"scores": replace(MADE.scores, seed=1)}, "other score options"),
        ({"regressor": replace(REGRESSOR, offset=5.0)}, "another regressor"),
        ({"regressor": None}, "another regressor"),
        ({"references": {"drums.wav": "cd"}}, "other references"),
        ({"references": None}, "other references"),
        ({"format": parse_format("flac24")}, "another stem format"),
    ],
)
def test_each_part_makes_another_key_and_is_named(other, reason):
    changed = replace(MADE, **other)
    assert changed.key != MADE.key
    assert changed.changes(kept(MADE)) == (reason,)
    assert MADE.changes(kept(MADE)) == ()


def test_the_order_of_scores_and_another_name_of_a_format_change_nothing():
    same = replace(
        MADE,
        scores=replace(MADE.scores, scores=("agreement", "energy", "energy")),
        format=parse_format("FLAC16"),
    )
    assert same.changes(kept(MADE)) == ()


def test_labels_without_a_key_or_of_another_version_are_outdated(monkeypatch):
    assert MADE.changes({"song": "a"}) == ("labels that tell too little of how they were made",)
    old = kept(MADE)
    monkeypatch.setattr(pseudo_provenance, "VERSION", pseudo_provenance.VERSION + 1)
    assert MADE.changes(old) == ("labels of another version of this program",)


def test_a_release_is_known_by_its_content(tmp_path):
    repo = Repo(make_repo(tmp_path))
    bag, member = repo.load("both"), repo.load("aaaa1111")
    digest = release_digest(bag)
    assert release_digest(replace(bag, name="renamed")) == digest
    others = [
        member,
        replace(bag, members=bag.members[::-1]),
        replace(bag, weights=((1.0, 0.5), (0.0, 0.5))),
        replace(bag, inference=replace(bag.inference, overlap=bag.inference.overlap / 2)),
    ]
    digests = {digest, *map(release_digest, others)}
    next(bag.members[0].parameters()).data.add_(1e-3)
    digests.add(release_digest(bag))
    assert len(digests) == len(others) + 2
