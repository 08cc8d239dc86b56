"""A release answers to the names that its provenance lists; bags are written from code."""

import json
from pathlib import Path
from typing import Any

import pytest

from mss.core.errors import DataError
from mss.release.bag import BagRecipe, read_bag
from mss.release.repo import Repo


def test_alias_resolves_and_survives_a_reindex(export: Any, root: Path) -> None:
    name = export("aaaa1111", provenance={"aliases": ["htdemucs", "friend"]})
    other = export("bbbb2222", seed=1)
    for _ in range(2):
        repo = Repo(root)
        for query in ("htdemucs", "friend", "htdem"):
            assert repo.resolve(query).name == name
        assert repo.resolve("bbbb").name == other
        assert repo.entries()[0].aliases == ("htdemucs", "friend")
        (root / "index.json").unlink()
        repo.reindex()


def test_hint_names_the_alias(export: Any, root: Path) -> None:
    export("aaaa1111", provenance={"aliases": ["htdemucs"]})
    with pytest.raises(DataError, match="Did you mean 'htdemucs'"):
        Repo(root).resolve("htdemux")


def test_alias_of_two_models_is_ambiguous(export: Any, root: Path) -> None:
    for seed, signature in enumerate(("aaaa1111", "bbbb2222")):
        export(signature, seed=seed, provenance={"aliases": ["mine"]})
    with pytest.raises(DataError, match="'mine' fits more than one"):
        Repo(root).resolve("mine")


def test_exact_alias_wins_over_the_start_of_names(export: Any, root: Path) -> None:
    export("aaaa1111")
    named = export("bbbb2222", seed=1, provenance={"aliases": ["toy"]})
    assert Repo(root).resolve("toy").name == named  # both full names start with it


@pytest.mark.parametrize("aliases", [None, "text", 3, {}])
def test_provenance_of_others_is_no_alias(export: Any, root: Path, aliases: Any) -> None:
    export("aaaa1111", provenance={"aliases": aliases})
    assert Repo(root).entries()[0].aliases == ()
    assert "aliases" not in json.loads((root / "index.json").read_text())["models"][0]


def test_bag_is_written_once(export: Any, root: Path) -> None:
    members = tuple(export(name, seed) for seed, name in enumerate(("aaaa1111", "bbbb2222")))
    recipe = BagRecipe(members, {"vocals": (3.0, 1.0)}, None)
    repo = Repo(root)
    assert repo.add_bag("pair", recipe).recipe == recipe
    assert read_bag(root / "pair.yaml") == recipe
    written = (root / "pair.yaml").stat().st_mtime_ns
    repo.add_bag("pair", recipe, default=True)
    assert (root / "pair.yaml").stat().st_mtime_ns == written
    assert repo.default == "pair"
    assert repo.load("pair").weights == ((0.5, 0.75), (0.5, 0.25))


@pytest.mark.parametrize(
    ("recipe", "name", "message"),
    [
        (BagRecipe(("toy-zzzz9999-00000000",)), "pair", "is not the full name of a model"),
        (None, "../pair", "leads out of this folder"),
        (None, "nested/pair", "leads out of this folder"),
    ],
)
def test_wrong_bag_is_not_written(
    export: Any, root: Path, recipe: BagRecipe | None, name: str, message: str
) -> None:
    member = export("aaaa1111")
    with pytest.raises(DataError, match=message):
        Repo(root).add_bag(name, recipe or BagRecipe((member,)))
    assert not list(root.parent.rglob("*.yaml"))


def test_weights_for_a_source_that_is_not_there(export: Any, root: Path) -> None:
    recipe = BagRecipe((export("aaaa1111"),), {"piano": (1.0,)})
    with pytest.raises(DataError, match=r"weights\.piano"):
        Repo(root).add_bag("pair", recipe)
    assert not (root / "pair.yaml").exists()
