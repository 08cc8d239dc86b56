"""Bags in a folder of released models: recipes that are read, checked and loaded."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from mss.core.errors import DataError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.release.index import Entry
from mss.release.repo import BagEntry, Repo


@pytest.fixture
def pair(export: Any) -> tuple[str, str]:
    return export("aaaa1111", seed=1), export("bbbb2222", seed=2)


def write_bag(root: Path, text: str, name: str = "both") -> None:
    (root / f"{name}.yaml").write_text(text)


def test_bag(pair: tuple[str, str], root: Path, make_toy: Any) -> None:
    write_bag(root, f"members: [{pair[1]}, {pair[0]}]\nweights:\n  vocals: [3, 1]\nsegment: 2.5\n")
    repo = Repo(root)
    assert repo.bag_names() == ("both",)
    found = repo.resolve("bo")
    assert isinstance(found, BagEntry)
    release = repo.load("both")
    assert release.name == "both"
    assert release.weights == ((0.5, 0.75), (0.5, 0.25))  # [members][drums, vocals]
    assert release.inference == InferenceDefaults(
        found.recipe.segment, overlap=0.5, normalise="file_mono_std"
    )
    assert release.inference.segment == 2.5
    assert [header.signature for header in release.headers] == ["bbbb2222", "aaaa1111"]
    for model, seed in zip(release.members, (2, 1), strict=True):
        expected = make_toy(seed).state_dict()
        assert torch.equal(model.state_dict()["encode.weight"], expected["encode.weight"])
    assert repo.set_default("both") == "both"
    assert repo.load().name == "both"


def test_bag_without_weights_takes_the_shortest_segment(export: Any, root: Path) -> None:
    names = [
        export("aaaa1111", toy={"segment": Fraction(4)}),
        export("bbbb2222", toy={"segment": Fraction(3)}),
    ]
    write_bag(root, json.dumps({"members": names}))
    release = Repo(root).load("both")
    assert release.weights is None
    assert release.inference.segment == 3
    assert isinstance(Repo(root).resolve(names[0]), Entry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("members: [A, B]\nweight: {}", r"bag\.weight: .* Did you mean 'weights'"),
        ("members: []", "at least one model"),
        ("members: [A, A]", "stands twice"),
        ("weights: {}", r"bag\.members: this key is needed"),
        ("members: [A, B]\nweights: {vocals: [1]}", "weights.vocals: 1 numbers for 2 members"),
        ("members: [A, B]\nweights: {vocals: [1, -1]}", "weights.vocals: .*>= 0"),
        ("members: [A, B]\nweights: {vocals: [0, 0]}", "weights.vocals: .*not all 0"),
        ("members: [A, B]\nweights: {vocals: [1, .nan]}", "weights.vocals: "),
        ("members: [A, B]\nweights: {vocal: [1, 1]}", "no such source. Did you mean 'vocals'"),
        ("members: [A, B]\nsegment: 0", "segment: 0 s is not positive"),
        ("members: [A, toy-cccc]", "'toy-cccc' is not the full name"),
        ("members: [A, toy-bbbb2222]", "is not the full name"),
        ("members: [A, ../elsewhere]", "'../elsewhere' is not the full name"),
        ("members: [A, /etc/passwd]", "'/etc/passwd' is not the full name"),
        ("members: [A, both]", "'both' is not the full name"),
        ("- A", "a bag is a mapping"),
        ("members: [A", "can't be read as a bag"),
        ("members: !!python/object/apply:os.mkdir [TRAP]", "can't be read as a bag"),
    ],
)
def test_faults_of_a_bag(
    pair: tuple[str, str], root: Path, tmp_path: Path, text: str, message: str
) -> None:
    trap = tmp_path / "executed"
    names = {"[A": f"[{pair[0]}", " A": f" {pair[0]}", " B": f" {pair[1]}", "TRAP": str(trap)}
    for short, full in names.items():
        text = text.replace(short, full)
    write_bag(root, text)
    with pytest.raises(DataError, match=f"both.yaml: (?s:.*){message}"):
        Repo(root).load("both")
    assert not trap.exists()
    Repo(root).load(pair[0])  # a broken bag does not keep a model from being loaded


def test_bag_members_must_agree(export: Any, root: Path) -> None:
    mono = AudioSpec(("drums", "vocals"), 8000, 1)
    names = [export("aaaa1111"), export("bbbb2222", toy={"spec": mono})]
    write_bag(root, json.dumps({"members": names}))
    with pytest.raises(DataError, match="need the same sources"):
        Repo(root).load("both")
    plain = InferenceDefaults(segment=None, overlap=0.5)
    names[1] = export("cccc3333", inference=plain)
    write_bag(root, json.dumps({"members": names}))
    with pytest.raises(DataError, match=r"normalise 'none', but .* with 'file_mono_std'"):
        Repo(root).load("both")


def test_bag_link_can_not_lead_out_of_the_folder(
    pair: tuple[str, str], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.yaml").write_text(f"members: [{pair[0]}]")
    (root / "both.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(DataError, match="leads out of this folder"):
        Repo(root).load("both")
