"""Bags of demucs; everything is checked before the first file is written."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from foreign_files import small_hdemucs

from mss.core.errors import ConfigError, DataError
from mss.release.container import read_header
from mss.release.importers.foreign import ForeignBag
from mss.release.importers.importing import ImportOptions, _segment, import_source
from mss.release.package import save_package
from mss.release.repo import Repo

Saver = Callable[..., Path]
PAIR = ["aaaa1111", "bbbb2222"]


def save_bag(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_bag(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    for seed, signature in enumerate(("aaaa1111", "bbbb2222")):
        save_demucs(signature, seed)
    bag = save_bag(
        tmp_path / "pair.yaml",
        models=["aaaa1111", "bbbb2222"],
        weights=[[1.0, 3.0], [0.0, 1.0]],
        segment=5,
    )
    result = import_source(str(bag), root)
    assert result.bag == root / "pair.yaml"
    release = Repo(root).load("pair")
    assert release.weights == ((1.0, 0.75), (0.0, 0.25))
    assert release.inference.segment == 5
    for seed, member in enumerate(release.members):
        expected = small_hdemucs(seed).state_dict()
        assert member.state_dict().keys() == expected.keys()
        assert all(torch.equal(member.state_dict()[key], expected[key]) for key in expected)
    assert Repo(root).default == "pair"
    assert import_source(str(bag), root) == result
    assert len(Repo(root).entries()) == 2


def test_model_twice_in_a_bag_counts_twice(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    for seed, signature in enumerate(("aaaa1111", "bbbb2222")):
        save_demucs(signature, seed)
    bag = save_bag(tmp_path / "pair.yaml", models=["aaaa1111", "bbbb2222", "aaaa1111"])
    with pytest.raises(DataError, match="weights: 1 numbers a model, but its models give 2"):
        import_source(str(bag), root)
    bag = save_bag(
        bag, models=["aaaa1111", "bbbb2222", "aaaa1111"], weights=[[1.0, 1.0]] * 3, segment=5
    )
    import_source(str(bag), root)
    assert Repo(root).load("pair").weights == ((2 / 3, 2 / 3), (1 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("arch", "asked", "expected"),
    [("hdemucs", 44, 44), ("htdemucs", 44, Fraction(39, 5)), ("htdemucs", 5, 5)],
)
def test_transformer_takes_no_longer_chunk_than_its_own(
    toy: Any, tmp_path: Path, arch: str, asked: int, expected: Fraction
) -> None:
    header = read_header(save_package(toy, tmp_path, arch="toy", signature="aaaa1111"))
    bag = ForeignBag(tmp_path, "bag", (), None, asked)
    assert header.inference.segment == Fraction(39, 5)
    assert _segment(bag, {"one": replace(header, arch=arch)}) == expected


def test_another_bag_of_that_name_stays(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    save_demucs("aaaa1111")
    bag = save_bag(tmp_path / "one.yaml", models=["aaaa1111"], segment=5)
    import_source(str(bag), root)
    save_bag(bag, models=["aaaa1111"], segment=6)
    with pytest.raises(DataError, match="another bag has this name; remove it, or give another"):
        import_source(str(bag), root)
    assert Repo(root).load("one").inference.segment == 5
    assert import_source(str(bag), root, ImportOptions(name="two")).name == "two"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"models": ["cccc3333"]}, "'cccc3333' is not beside it; bring cccc3333-<checksum>.th"),
        ({"modls": []}, "not a bag of demucs"),
        ({"models": ["aaaa1111"], "weihgts": []}, "Did you mean 'weights'"),
        ({"models": ["aaaa1111"], "segment": "long"}, "segment: 'long' is no number"),
        ({"models": ["aaaa1111"], "weights": [[1, -1]]}, "numbers >= 0"),
        ({"models": ["aaaa1111"], "weights": [[1, 1, 1]], "segment": 3}, "3 numbers a model, but"),
        ({"models": ["../aaaa1111"]}, "is not beside it"),
    ],
)
def test_wrong_bags(
    save_demucs: Saver, root: Path, tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    save_demucs("aaaa1111")
    with pytest.raises(DataError, match=message):
        import_source(str(save_bag(tmp_path / "bag.yaml", **content)), root)
    assert not root.exists()


def test_bag_with_one_bad_member_writes_nothing(
    save_demucs: Saver, root: Path, tmp_path: Path
) -> None:
    save_demucs("aaaa1111")
    save_demucs("bbbb2222", edit=lambda content: content["state"].popitem())
    bag = save_bag(tmp_path / "pair.yaml", models=["aaaa1111", "bbbb2222"])
    with pytest.raises(DataError, match=r"bbbb2222-\w+\.th: its weights .*missing"):
        import_source(str(bag), root)
    assert not root.exists()


# --- found wrong late ---------------------------------------------------------------------------


def save_pair(
    folder: Path, save_demucs: Saver, edit: Callable[[dict[str, Any]], Any] | None = None
) -> None:
    """Save two members, the second one edited."""
    save_demucs(PAIR[0], 0, folder=folder)
    save_demucs(PAIR[1], 1, edit, folder=folder)


def other_sources(content: dict[str, Any]) -> None:
    content["args"] = (["drums", "bass"],)


def not_a_number(content: dict[str, Any]) -> None:
    content["state"]["encoder.0.conv.bias"] = torch.full((4,), float("nan")).half()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_sources, r"pair\.yaml: hdemucs-bbbb2222 gives .*'bass'.* hdemucs-aaaa1111 gives"),
        (not_a_number, r"bbbb2222-\w+\.th: encoder\.0\.conv\.bias: holds NaN"),
    ],
)
def test_wrong_second_member(
    save_demucs: Saver, root: Path, tmp_path: Path, edit: Any, message: str
) -> None:
    save_pair(tmp_path, save_demucs, edit)
    bag = tmp_path / "pair.yaml"
    bag.write_text(yaml.safe_dump({"models": PAIR}))
    with pytest.raises(DataError, match=message):
        import_source(str(bag), root)
    assert not root.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segment: .inf", "segment: inf is no number of seconds"),
        ("segment: .nan", "segment: nan is no number of seconds"),
        ("segment: true", "segment: True is no number of seconds"),
        ("segment: 1.0e+300", "segment: 1e.300 is no number of seconds"),
        ("weights: [[1, 0], [1, 0]]", r"weights\.vocals: \[0.*not all 0"),
        ("weights: [[0, 0], [0, 0]]", r"weights\.drums: \[0.*not all 0"),
        ("weights: [[1, .inf], [1, 1]]", "weights: 2 rows .* numbers >= 0"),
        (f"weights: [[1, 1], [1, 1{'0' * 400}]]", "weights: 2 rows .* numbers >= 0"),
    ],
)
def test_wrong_recipe(
    save_demucs: Saver, root: Path, tmp_path: Path, text: str, message: str
) -> None:
    save_pair(tmp_path, save_demucs)
    bag = tmp_path / "pair.yaml"
    bag.write_text(f"models: {PAIR}\n{text}\n")
    with pytest.raises(DataError, match=message) as caught:
        import_source(str(bag), root)
    assert str(caught.value).startswith(f"{bag}: ")
    assert not root.exists()


@pytest.mark.parametrize("name", ["a/b", "", " ", ".hidden", "-n", "a\nb", "x" * 101])
def test_wrong_names(save_demucs: Saver, root: Path, tmp_path: Path, name: str) -> None:
    save_pair(tmp_path, save_demucs)
    bag = tmp_path / "pair.yaml"
    bag.write_text(yaml.safe_dump({"models": PAIR}))
    for source in (bag, next(tmp_path.glob("aaaa1111-*"))):
        with pytest.raises(ConfigError, match=r"--name: .* can't be a model's name"):
            import_source(str(source), root, ImportOptions(name=name))
    assert not root.exists()


def test_bag_whose_file_s_name_is_no_name(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    save_pair(tmp_path, save_demucs)
    bag = tmp_path / ".x.yaml"
    bag.write_text(yaml.safe_dump({"models": PAIR}))
    with pytest.raises(ConfigError, match=r"\.x\.yaml: .*--name NAME.*'\.x' can't be a model's"):
        import_source(str(bag), root)
    assert not root.exists()
    assert import_source(str(bag), root, ImportOptions(name="x")).name == "x"


def test_members_of_one_signature(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    first = save_demucs("a_b")
    (tmp_path / "a_c.th").write_bytes(first.read_bytes())  # neither is a signature: both are hashed
    bag = tmp_path / "pair.yaml"
    bag.write_text(yaml.safe_dump({"models": ["a_b", "a_c"]}))
    with pytest.raises(DataError, match=r"pair\.yaml: two of its models have the signature"):
        import_source(str(bag), root)
    assert not root.exists()


def test_another_bag_of_that_name(save_demucs: Saver, root: Path, tmp_path: Path) -> None:
    save_pair(tmp_path, save_demucs)
    bag = tmp_path / "pair.yaml"
    bag.write_text(yaml.safe_dump({"models": PAIR[:1], "segment": 5}))
    import_source(str(bag), root)
    before = sorted(root.iterdir())
    bag.write_text(yaml.safe_dump({"models": PAIR, "segment": 5}))
    with pytest.raises(DataError, match="another bag has this name"):
        import_source(str(bag), root)
    assert sorted(root.iterdir()) == before
    assert len(Repo(root).entries()) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_index_that_can_t_be_read(
    save_demucs: Saver, root: Path, tmp_path: Path, whole: bool
) -> None:
    save_pair(tmp_path, save_demucs)
    source = tmp_path / "pair.yaml"
    source.write_text(yaml.safe_dump({"models": PAIR}))
    root.mkdir()
    (root / "index.json").write_text("{")
    if not whole:
        source = next(tmp_path.glob("aaaa1111-*"))
    with pytest.raises(DataError, match=r"index\.json: can't be read"):
        import_source(str(source), root)
    assert [path.name for path in root.iterdir()] == ["index.json"]
