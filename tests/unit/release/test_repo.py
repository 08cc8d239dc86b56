"""A folder of released models: listing, names, scores, and what it refuses."""

import json
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from filelock import FileLock

from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256
from mss.core.types import AudioSpec
from mss.release import repo as repo_module
from mss.release.package import save_package
from mss.release.repo import NoModelError, Repo, default_repo_root


def index_of(root: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((root / "index.json").read_text())
    return index


def test_export_lists_the_file(export: Any, root: Path) -> None:
    name = export("aaaa1111", scores={"nsdr/demo": {"drums": 1.5}})
    (listed,) = index_of(root)["models"]
    file = root / f"{name}.safetensors"
    date = listed.pop("date")
    assert date.endswith("+00:00")
    assert listed == {
        "name": name,
        "file": file.name,
        "sha256": file_sha256(file),
        "bytes": file.stat().st_size,
        "signature": "aaaa1111",
        "arch": "toy",
        "sources": ["drums", "vocals"],
        "samplerate": 8000,
        "channels": 2,
        "parameters": 32,
        "scores": {"nsdr/demo": {"drums": 1.5}},
    }
    assert index_of(root)["schema"] == 1
    assert index_of(root)["default"] == name
    assert (root / f"{name}.md").is_file()


def test_second_export_of_a_run_replaces_its_entry(export: Any, root: Path) -> None:
    facts = {"scores": {"nsdr/demo": {"drums": 1.0}}}
    first, other = export("aaaa1111", **facts), export("bbbb2222", seed=1)
    Repo(root).add_scores(first, {"museval/demo": {"drums": 2.0}, "nsdr/demo": {"drums": 1.5}})
    before = index_of(root)["models"]
    assert export("aaaa1111", **facts) == first
    assert [entry["name"] for entry in index_of(root)["models"]] == [other, first]
    assert sorted(before, key=str) == sorted(index_of(root)["models"], key=str)  # date, scores kept
    assert index_of(root)["default"] == first
    assert len(list(root.glob("*.safetensors"))) == 2


def test_load_gives_the_model(export: Any, root: Path, make_toy: Any) -> None:
    name = export("aaaa1111", seed=3)
    release = Repo(root).load()
    assert (release.name, release.weights) == (name, None)
    (model,), (header,) = release.members, release.headers
    for key, value in make_toy(3).state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert release.spec == header.spec == AudioSpec(("drums", "vocals"), 8000, 2)
    assert release.inference == header.inference == make_toy().inference
    assert header.signature == "aaaa1111"


def test_default_is_the_first_or_the_chosen(export: Any, root: Path) -> None:
    first, second = export("aaaa1111"), export("bbbb2222")
    assert Repo(root).default == first
    third = export("cccc3333", default=True)
    assert Repo(root).resolve().name == third
    assert Repo(root).set_default("bbbb") == second
    assert Repo(root).resolve(None).name == second
    # A default that is gone is told, not guessed.
    index = index_of(root) | {"default": "gone"}
    (root / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="no model 'gone'"):
        Repo(root).resolve()
    (root / "index.json").write_text(json.dumps(index | {"default": None}))
    with pytest.raises(DataError, match="no default model; name one"):
        Repo(root).resolve()


def test_names_signatures_and_unique_starts(export: Any, root: Path) -> None:
    first, second = export("aaaa1111"), export("aabb2222")
    repo = Repo(root)
    for query in (first, "aaaa1111", "aaa", "toy-aaa", first[:-3]):
        assert repo.resolve(query).name == first
    assert repo.resolve("aab").name == second
    for query in ("aa", "toy", "toy-aa"):
        with pytest.raises(DataError, match=f"'{query}' fits more than one: {first}, {second}"):
            repo.resolve(query)
    with pytest.raises(DataError, match=f"no model '{first[:-1]}x'. Did you mean '{first}'"):
        repo.resolve(first[:-1] + "x")
    for query in ("", "1111", f"../repo/{first}", str(root / first)):
        with pytest.raises(DataError, match="there is no model"):
            repo.resolve(query)


def test_releases_of_one_run_stand_for_the_newest(export: Any, root: Path) -> None:
    old, new = export("aaaa1111", seed=0), export("aaaa1111", seed=1)
    assert old != new
    repo = Repo(root)
    assert repo.resolve("aaaa1111").name == new
    assert repo.resolve("toy").name == new
    assert repo.resolve(old).name == old
    export("aaaa1111", seed=0)
    assert repo.resolve("aaaa1111").name == old


def test_empty_repo_names_the_two_ways(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nothing"):
        assert Repo(root).entries() == ()
        with pytest.raises(NoModelError, match=r"train one .*make demo.*--repo FOLDER"):
            Repo(root).load()
    assert not (tmp_path / "nothing").exists()  # reading makes nothing


def test_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEMGRID_REPO", raising=False)
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda *_, **__: "/data/stemgrid")
    assert default_repo_root() == Path("/data/stemgrid/models")
    (tmp_path / "release_models").mkdir()
    assert default_repo_root() == Path("release_models")
    monkeypatch.setenv("STEMGRID_REPO", str(tmp_path / "mine"))
    assert default_repo_root() == tmp_path / "mine"
    assert Repo().root == tmp_path / "mine"


# --- damage ---


def test_flipped_bytes(export: Any, root: Path) -> None:
    name = export("aaaa1111")
    file = root / f"{name}.safetensors"
    content = file.read_bytes()
    for position in (0, 40, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name}.safetensors: .*fetch the file"):
            Repo(root).load(name)
    file.write_bytes(content)
    index = (root / "index.json").read_text()
    sha256 = file_sha256(file)
    # Past the eight digits in the name: only the index knows these.
    (root / "index.json").write_text(index.replace(sha256, sha256[:-1] + "x"))
    with pytest.raises(DataError, match="as the index says"):
        Repo(root).load(name)
    (root / "index.json").write_text(index)
    Repo(root).load(name)


def test_listed_file_is_gone(export: Any, root: Path) -> None:
    name = export("aaaa1111")
    (root / f"{name}.safetensors").unlink()
    with pytest.raises(DataError, match="there is no such file"):
        Repo(root).load(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't be read"),
        ("[]", "not an index"),
        ('{"schema": 2, "models": []}', "newer Stemgrid"),
        ('{"schema": 1, "modles": []}', "Did you mean 'models'"),
        ('{"schema": 1, "models": [{"name": "x"}]}', r"index\.models\.0\.file: this key is needed"),
    ],
)
def test_damaged_index(export: Any, root: Path, text: str, message: str) -> None:
    export("aaaa1111")
    (root / "index.json").write_text(text)
    for action in (Repo(root).load, Repo(root).entries, lambda: export("bbbb2222")):
        with pytest.raises(DataError, match=f"index.json: .*{message}"):
            action()
    assert (root / "index.json").read_text() == text  # no export silently drops it


def test_missing_index_and_reindex(export: Any, root: Path) -> None:
    first = export("aaaa1111")
    second = export("bbbb2222", default=True)
    Repo(root).add_scores(first, {"museval": {"drums": 1.0}})
    before = index_of(root)
    (root / "index.json").unlink()
    with pytest.raises(DataError, match=r"2 released file.* python -m tools\.export --reindex"):
        Repo(root).entries()
    assert {entry.name for entry in Repo(root).reindex()} == {first, second}
    for entry in index_of(root)["models"]:
        (old,) = (other for other in before["models"] if other["name"] == entry["name"])
        assert entry["sha256"] == old["sha256"]
    assert Repo(root).load(second).name == second


def test_reindex_keeps_what_the_index_knows(export: Any, root: Path, make_toy: Any) -> None:
    first, second = export("aaaa1111"), export("bbbb2222", default=True)
    Repo(root).add_scores(first, {"museval": {"drums": 1.0}})
    before = index_of(root)
    (by_hand := save_package(make_toy(5), root, arch="toy", signature="0000cccc"))
    Repo(root).reindex()
    after = index_of(root)
    assert after["models"][:2] == before["models"]
    assert after["models"][2]["name"] == by_hand.stem
    assert after["default"] == second
    by_hand.unlink()
    (root / f"{second}.safetensors").unlink()
    assert [entry.name for entry in Repo(root).reindex()] == [first]
    assert Repo(root).default == first


def test_reindex_lists_no_damaged_file(export: Any, root: Path) -> None:
    name = export("aaaa1111")
    before = (root / "index.json").read_bytes()
    file = root / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}.safetensors: damaged"):
        Repo(root).reindex()
    assert (root / "index.json").read_bytes() == before


def test_failure_while_writing_keeps_the_old_index(
    export: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = export("aaaa1111")
    before = (root / "index.json").read_bytes()
    replace = os.replace

    def fail(source: Any, target: Any) -> None:
        if Path(target).name == "index.json":
            raise OSError("no space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space"):
            export("bbbb2222")
    assert (root / "index.json").read_bytes() == before
    assert Repo(root).load().name == name
    assert not [path for path in root.iterdir() if path.name.startswith(".index.json")]
    export("bbbb2222")  # the lock was given back
    assert len(Repo(root).entries()) == 2


# --- several programs at once ---


def test_concurrent_exports_lose_nothing(make_toy: Any, root: Path) -> None:
    toys = [make_toy(seed) for seed in range(6)]
    paths = [
        save_package(toy, root, arch="toy", signature=f"run{seed}") for seed, toy in enumerate(toys)
    ]
    threads = [threading.Thread(target=Repo(root).add, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.signature for entry in Repo(root).entries()} == {f"run{i}" for i in range(6)}


def _add_score(root: Path, name: str, keys: list[str]) -> None:
    for key in keys:
        Repo(root).add_scores(name, {key: 1.0})


def test_concurrent_processes_lose_nothing(export: Any, root: Path) -> None:
    name = export("aaaa1111")
    context = multiprocessing.get_context("fork")
    keys = [[f"{process}.{i}" for i in range(10)] for process in range(3)]
    workers = [context.Process(target=_add_score, args=(root, name, part)) for part in keys]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    (entry,) = Repo(root).entries()
    assert set(entry.scores) == {key for part in keys for key in part}


def test_lock_that_is_never_given_back_is_told(
    export: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("aaaa1111")
    monkeypatch.setattr(repo_module, "_LOCK_SECONDS", 0.05)
    with (
        FileLock(root / ".index.lock"),
        pytest.raises(DataError, match="another program has been changing this repo"),
    ):
        export("bbbb2222")


# --- staying inside the folder ---


def relist(root: Path, listed: str, **changes: Any) -> None:
    index = index_of(root)
    for entry in index["models"]:
        if entry["name"] == listed:
            entry.update(changes)
    (root / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("file", ["../{}", "sub/../../{}", "{root}/{}", "..", "", "a\\{}", ".{}"])
def test_index_can_not_lead_out_of_the_folder(
    export: Any, root: Path, tmp_path: Path, file: str
) -> None:
    name = export("aaaa1111")
    outside = tmp_path / f"{name}.safetensors"
    outside.write_bytes((root / f"{name}.safetensors").read_bytes())
    relist(root, name, file=file.replace("{root}", str(tmp_path)).replace("{}", outside.name))
    with pytest.raises(DataError, match="leads out of this folder"):
        Repo(root).load(name)


def test_link_can_not_lead_out_of_the_folder(export: Any, root: Path, tmp_path: Path) -> None:
    name = export("aaaa1111")
    file = root / f"{name}.safetensors"
    outside = file.rename(tmp_path / file.name)
    file.symlink_to(outside)
    with pytest.raises(DataError, match="leads out of this folder"):
        Repo(root).load(name)
    with pytest.raises(DataError, match="lies outside of"):
        Repo(root).add(file)
    with pytest.raises(DataError, match="lies outside of"):
        Repo(root).add(outside)


def test_card_can_not_be_written_elsewhere(export: Any, root: Path, tmp_path: Path) -> None:
    name = export("aaaa1111")
    relist(root, name, name="../escaped")
    with pytest.raises(DataError, match="leads out of this folder"):
        Repo(root).add_scores("../escaped", {"nsdr": 1.0})
    assert not (tmp_path / "escaped.md").exists()
    assert index_of(root)["models"][0]["scores"] == {}  # one thing failed, so nothing is changed


def test_reading_takes_no_lock_and_writes_nothing(export: Any, root: Path) -> None:
    name = export("aaaa1111")
    (root / ".index.lock").unlink(missing_ok=True)
    before = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    Repo(root).load(name)
    assert {path.name: path.stat().st_mtime_ns for path in root.iterdir()} == before


# --- scores ---


def test_added_scores_reach_index_and_card_not_the_file(export: Any, root: Path) -> None:
    name = export("aaaa1111", scores={"nsdr/demo": {"drums": 1.5}})
    content = (root / f"{name}.safetensors").read_bytes()
    entry = Repo(root).add_scores(name, {"museval/demo": {"drums": 6.25, "mean": 6.125}})
    assert entry.scores == {
        "nsdr/demo": {"drums": 1.5},
        "museval/demo": {"drums": 6.25, "mean": 6.125},
    }
    assert Repo(root).entries() == (entry,)
    card = (root / f"{name}.md").read_text()
    assert "|  | nsdr/demo | museval/demo |" in card
    assert "| drums | 1.50 | 6.25 |" in card
    assert "| mean | - | 6.12 |" in card
    assert (root / f"{name}.safetensors").read_bytes() == content
    with pytest.raises(DataError, match="no model 'toy'"):
        Repo(root).add_scores("toy", {})
    with pytest.raises(ConfigError, match="scores: "):
        Repo(root).add_scores(name, {"nsdr": float("inf")})
    assert Repo(root).entries() == (entry,)


# --- bags ---
