"""The yaml files of group dset and the classes they configure."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from mss.core.registry import BUILTIN, make_config, resolve

GROUP = Path(__file__).resolve().parents[3] / "conf" / "dset"
EVERY = sorted(GROUP.glob("*.yaml"))
FILES = [path for path in EVERY if "defaults" not in yaml.safe_load(path.read_text())]
"""Those that stand by themselves; the others change some values of one of these."""


def test_every_data_set_has_a_file() -> None:
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in FILES}
    assert kinds == set(BUILTIN["dataset"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_hold_every_key_with_its_default(path: Path) -> None:
    """Every key can be overridden, and a data set built in Python is the one that yaml means."""
    values = yaml.safe_load(path.read_text())
    kind, name = values.pop("kind"), values.pop("name")
    if str(values["root"]).startswith("${cluster."):
        values["root"] = None  # what conf/cluster/local.yaml says
    config_class = resolve("dataset", kind).Config
    assert name == path.stem
    assert set(values) == {field.name for field in dataclasses.fields(config_class)}
    config = make_config(config_class, values, "dset")
    size = path.stem.removeprefix("demo_").removeprefix("demo")
    changed = {"size": {"large": "demo_large"}.get(size, size)} if size and kind == "demo" else {}
    assert config == config_class(**changed)


@pytest.mark.parametrize("path", [p for p in EVERY if p not in FILES], ids=lambda path: path.stem)
def test_derived_files_change_what_is_there_and_have_a_name_of_their_own(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    base, own = values.pop("defaults")
    assert own == "_self_"
    known = yaml.safe_load((GROUP / f"{base}.yaml").read_text())
    assert set(values) <= set(known)
    assert values["name"] == path.stem
