"""From a foreign file to a listed release that loads and answers to its names."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import yaml
from foreign_files import ARGUMENTS, SOURCES, demucs_content, small_hdemucs
from safetensors.torch import save_file

from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import ConfigError, DataError
from mss.core.files import file_sha256
from mss.core.types import AudioSpec
from mss.models.openunmix import OpenUnmix
from mss.release.importers import known as known_module
from mss.release.importers.download import DownloadError
from mss.release.importers.foreign import Hints
from mss.release.importers.importing import (
    ImportOptions,
    ImportResult,
    import_source,
)
from mss.release.importers.known import DEMUCS, Known, KnownFile
from mss.release.importers.openunmix_files import openunmix_model
from mss.release.importers.sources import read_checkpoint
from mss.release.repo import Repo

Saver = Callable[..., Path]


def weights_of(root: Path, query: str) -> dict[str, torch.Tensor]:
    (model,) = Repo(root).load(query).members
    return model.state_dict()


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def known_as(monkeypatch: pytest.MonkeyPatch, *models: Known) -> None:
    """Let these be all the public models there are."""
    table = {model.name: model for model in models}
    monkeypatch.setattr(known_module, "known_models", lambda: table)
    monkeypatch.setattr("mss.release.importers.importing.known_models", lambda: table)


def known_demucs(*paths: Path, **facts: Any) -> Known:
    return Known(
        name="mine",
        arch="hdemucs",
        sources=SOURCES,
        family=DEMUCS,
        files=tuple(
            KnownFile(f"https://example.org/{path.name}", path.stem.partition("-")[2])
            for path in paths
        ),
        page="https://example.org/about",
        licence="CC0",
        models=tuple(path.stem.partition("-")[0] for path in paths),
        **facts,
    )


# --- demucs --------------------------------------------------------------------------------------


def test_demucs_file(save_demucs: Saver, root: Path) -> None:
    path = save_demucs("1a2b3c4d")
    result = import_source(str(path), root)
    (file,) = result.paths
    assert file.name.startswith("hdemucs-1a2b3c4d-")
    release = Repo(root).load("1a2b3c4d")
    assert release.spec == AudioSpec(SOURCES, 8000)
    assert (release.inference.segment, release.inference.normalise) == (
        Fraction(39, 5),
        "file_mono_std",
    )
    assert_same(release.members[0].state_dict(), small_hdemucs().state_dict())
    (header,) = release.headers
    assert header.licence == "not stated"
    assert header.provenance == {
        "origin": path.name,
        "format": "demucs .th",
        "sha256": file_sha256(path),
    }


def test_second_import_gives_the_same_file(save_demucs: Saver, root: Path) -> None:
    path = save_demucs()
    first, second = (import_source(str(path), root) for _ in range(2))
    assert first == second
    assert len(Repo(root).entries()) == len(list(root.glob("*.safetensors"))) == 1


def test_name_and_licence_of_the_user(save_demucs: Saver, root: Path) -> None:
    options = ImportOptions(name="friend", licence="CC BY 4.0")
    result = import_source(str(save_demucs()), root, options)
    assert result.name == "friend"
    (header,) = Repo(root).load("friend").headers
    assert header.licence == "CC BY 4.0"
    card = result.paths[0].with_suffix(".md").read_text()
    assert "| licence of the weights | CC BY 4.0 |" in card
    assert "| answers to | `friend` |" in card
    assert "| imported from | 1a2b3c4d-" in card
    Repo(root).reindex()  # the file itself knows its names
    assert Repo(root).resolve("friend").name == result.paths[0].stem


def test_safetensors_of_demucs(root: Path, tmp_path: Path) -> None:
    content = demucs_content(type("Unused", (), {}))
    segment = {"_type": "fraction", "numerator": 39, "denominator": 5}
    metadata = {
        "klass": "demucs.hdemucs.HDemucs",
        "args": json.dumps(content["args"]),
        "kwargs": json.dumps({**content["kwargs"], "segment": segment}),
    }
    path = tmp_path / "1a2b3c4d.safetensors"
    save_file({key: value.contiguous() for key, value in content["state"].items()}, path, metadata)
    import_source(str(path), root)
    release = Repo(root).load("1a2b3c4d")
    assert release.inference.segment == Fraction(39, 5)
    assert_same(release.members[0].state_dict(), small_hdemucs().state_dict())


# --- Music-Source-Separation-Training ------------------------------------------------------------


def save_msst(folder: Path, wrap: str | None = None, **options: Any) -> Path:
    state: dict[str, Any] = dict(small_hdemucs().state_dict())
    path = folder / "model.ckpt"
    torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    config = {
        "model": "hdemucs",
        "hdemucs": dict(ARGUMENTS),
        "training": {
            "instruments": list(SOURCES),
            "channels": 2,
            "samplerate": 8000,
            "segment": 7.8,
        },
        "inference": {"num_overlap": 4},
        **options,
    }
    text = yaml.safe_dump(config)
    instruments = text.index("instruments:") + len("instruments:")
    text = f"{text[:instruments]} !!python/tuple{text[instruments:]}"
    (folder / "config.yaml").write_text(text)
    return path


@pytest.mark.parametrize("wrap", [None, "state", "state_dict", "model_state_dict"])
def test_msst_checkpoint(root: Path, tmp_path: Path, wrap: str | None) -> None:
    path = save_msst(tmp_path, wrap)
    import_source(str(path), root)
    release = Repo(root).load(file_sha256(path)[:8])
    assert release.spec == AudioSpec(SOURCES, 8000)
    assert release.inference.overlap == 0.75
    assert_same(release.members[0].state_dict(), small_hdemucs().state_dict())
    assert list(release.headers[0].provenance["files"]) == ["model.ckpt", "config.yaml"]


def test_msst_yaml_elsewhere(root: Path, tmp_path: Path) -> None:
    path = save_msst(tmp_path)
    config = (tmp_path / "config.yaml").rename(tmp_path / "kept.txt")
    with pytest.raises(DataError, match=r"no yaml lies beside it; .* --config FILE.yaml"):
        import_source(str(path), root)
    import_source(str(path), root, ImportOptions(hints=Hints(config=config)))
    assert len(Repo(root).entries()) == 1


def test_msst_several_yaml_files(root: Path, tmp_path: Path) -> None:
    path = save_msst(tmp_path)
    (tmp_path / "other.yaml").write_text("{}")
    with pytest.raises(DataError, match="2 yaml files lie beside it"):
        import_source(str(path), root)
    (tmp_path / "config.yaml").rename(tmp_path / "model.yaml")  # the checkpoint's own name
    import_source(str(path), root)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"model": {"dim": 3}}, None, "does not tell its architecture; say it: --type bs_roformer"),
        ({"model": {"dim": 3}}, "bs_roformr", "Did you mean 'bs_roformer'"),
        ({"model": None}, None, "the section 'model' is missing"),
        ({"training": {}}, None, "training.instruments"),
        ({"hdemucs": {**ARGUMENTS, "channels": 8}}, None, "its weights are not those of the hdem"),
        ({"hdemucs": {**ARGUMENTS, "chanels": 8}}, None, "hdemucs.chanels"),
        ({"hdemucs": {**ARGUMENTS, "depth": "deep"}}, None, "depth"),
    ],
)
def test_msst_wrong_yaml(
    root: Path, tmp_path: Path, options: dict[str, Any], kind: str | None, message: str
) -> None:
    path = save_msst(tmp_path, **options) if "training" not in options else save_msst(tmp_path)
    if "training" in options:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": "hdemucs", "hdemucs": {}}))
        message = "training"
    with pytest.raises((ConfigError, DataError), match=message):
        import_source(str(path), root, ImportOptions(hints=Hints(kind=kind)))
    assert not root.exists()


# --- Open-Unmix ----------------------------------------------------------------------------------


def test_openunmix_folder(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "umx"
    folder.mkdir()
    spec = AudioSpec(("vocals", "drums", "theremin"), 44100, 2)
    model = OpenUnmix.tiny(spec)
    for name, target in zip(spec.sources, model.targets, strict=True):
        draft = folder / "draft"
        torch.save(target.state_dict(), draft, _use_new_zipfile_serialization=False)  # as in 2019
        draft.rename(folder / f"{name}-{file_sha256(draft)[:8]}.pth")
        (folder / f"{name}.json").write_text('{"args": {"nfft": 512}}')
    (folder / "separator.json").write_text(
        '{"nfft": 512, "nhop": 128, "sample_rate": 44100, "nb_channels": 2}'
    )
    result = import_source(str(folder), root)
    (header,) = Repo(root).load(result.name).headers
    assert header.spec == spec
    assert len(header.provenance["files"]) == 7
    found = weights_of(root, result.name)
    assert_same(found, model.state_dict())
    assert (header.inference.segment, header.inference.overlap) == (60, 0.25)
    assert "the whole track at once; here it takes 60 s" in header.provenance["note"]
    assert "the whole track at once" in result.paths[0].with_suffix(".md").read_text()
    files = sorted(folder.glob("*.pth"))
    signatures = {openunmix_model(folder, order).signature for order in (files, files[::-1], None)}
    assert signatures == {header.signature}
    next(folder.glob("theremin-*")).rename(folder / "theremin-00000000.pth")
    with pytest.raises(DataError, match=r"theremin-00000000\.pth: damaged or changed"):
        import_source(str(folder), root)


# --- known models --------------------------------------------------------------------------------


def test_recognised_file_brings_its_facts(
    save_demucs: Saver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_demucs("1a2b3c4d")
    scores = {"SDR, somewhere": {"vocals": 8.5, "mean": 8.5}}
    known = known_demucs(path, scores=scores, contamination="the test set of X was in its training")
    known_as(monkeypatch, known)
    by_file = import_source(str(path), root)
    by_name = import_source("mine", root, ImportOptions(files=path.parent))
    assert by_file == by_name == ImportResult(by_file.paths, "mine")
    (header,) = Repo(root).load("mine").headers
    assert (header.licence, header.provenance["origin"]) == (
        "CC0",
        f"https://example.org/{path.name}",
    )
    assert header.scores == {"published SDR, somewhere": {"vocals": 8.5, "mean": 8.5}}
    card = by_file.paths[0].with_suffix(".md").read_text()
    assert "- the test set of X was in its training: scores there say nothing" in card


def test_known_bag(save_demucs: Saver, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save_demucs(name, seed) for seed, name in enumerate(("aaaa1111", "bbbb2222"))]
    known_as(monkeypatch, known_demucs(*paths, weights=((1.0, 0.0), (0.0, 1.0))))
    result = import_source("mine", root, ImportOptions(files=paths[0].parent))
    release = Repo(root).load("mine")
    assert release.weights == ((1.0, 0.0), (0.0, 1.0))
    assert {header.licence for header in release.headers} == {"CC0"}
    assert result.bag == root / "mine.yaml"
    paths[1].rename(paths[1].with_name("elsewhere.th"))
    with pytest.raises(
        DataError,
        match=r"bring https://example.org/bbbb2222-\w+.th into a folder, then: python -m "
        "tools.import_checkpoint mine --files FOLDER",
    ):
        import_source("mine", root, ImportOptions(files=paths[0].parent))


def test_brought_file_without_a_checksum_keeps_what_is_known(
    save_demucs: Saver, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the offline advice names keeps name, address and warning."""
    path = save_demucs()
    url = f"https://example.org/{path.name}"
    known = known_demucs(path, contamination="the test set of X was in its training")
    known_as(monkeypatch, replace(known, files=(KnownFile(url),)))
    monkeypatch.setattr(
        "mss.release.importers.importing.fetch", Mock(side_effect=DownloadError("no network"))
    )
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        import_source("mine", root)
    words = str(caught.value).partition("python -m tools.import_checkpoint ")[2].split()
    assert words == ["mine", "--files", "FOLDER"]
    assert import_source("mine", root, ImportOptions(files=tmp_path)).name == "mine"
    (header,) = Repo(root).load("mine").headers
    assert (header.aliases, header.provenance["origin"]) == (("mine",), url)
    assert header.provenance["contamination"] == "the test set of X was in its training"


def test_misspelt_name(root: Path) -> None:
    with pytest.raises(DataError, match=r"neither a file or folder nor .*Did you mean 'htdemucs'"):
        import_source("htdemux", root)


# --- asteroid ------------------------------------------------------------------------------------


def test_asteroid_file_is_told_by_its_content(tmp_path: Path) -> None:
    """Its translation is compared with asteroid itself in tests/parity/test_xumx.py."""
    path = tmp_path / "pretrained_xumx.pth"
    content = {
        "model_name": "XUMX",
        "state_dict": {"layer_enc.vocals.enc.0.weight": torch.zeros(2, dtype=torch.half)},
        "model_args": {"sources": ["vocals"], "max_bin": None},
        "infos": {"software_versions": {"torch_version": torch.__version__}},  # a class of torch's
    }
    torch.save(content, path)
    foreign = read_checkpoint(path)
    assert foreign.translator == "asteroid/XUMX"
    assert foreign.options["model_args"] == content["model_args"]
    assert foreign.state["layer_enc.vocals.enc.0.weight"].dtype == torch.float32
    torch.save(content | {"model_name": "ConvTasNet"}, path)
    with pytest.raises(DataError, match="model_name: 'ConvTasNet' of asteroid is unknown"):
        read_checkpoint(path)
