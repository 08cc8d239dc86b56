"""Names to classes, and yaml keys to typed values, with errors that help."""

import sys
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mss.core import registry
from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import Seconds


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Config:
    hidden: int = 4
    rate: float = 3e-4
    segment: Seconds = Fraction(10)
    mode: Literal["a", "b"] = "a"
    widths: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)


def make(values):
    return registry.make_config(Config, values, "model")


def test_values_take_the_types_of_the_fields():
    made = make({"rate": "1e-3", "segment": 7.8, "widths": [1, 2], "inner": {"depth": 3}})
    assert made == Config(rate=1e-3, segment=Fraction(39, 5), widths=(1, 2), inner=Inner(3))


@given(st.decimals(min_value="0.001", max_value="1000", places=3))
def test_seconds_are_exactly_what_was_written(value):
    assert make({"segment": float(value)}).segment == Fraction(str(value))


def test_a_dumped_config_reads_back_unchanged():
    config = Config(segment=Fraction(39, 5), widths=(3,), inner=Inner(2))
    assert make(registry.dump_config(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hiden": 3}, r"model\.hiden: there is no such key\. Did you mean 'hidden'"),
        ({"hidden": 3.5}, r"model\.hidden: .*integer.*3\.5"),
        ({"mode": "c"}, r"model\.mode: .*'a' or 'b'"),
        ({"segment": "long"}, r"model\.segment: .*not a number of seconds"),
        ({"inner": {"depth": "x"}}, r"model\.inner\.depth: "),
        ({"widths": [1, "x"]}, r"model\.widths\.1: "),
    ],
)
def test_a_wrong_key_or_value_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        make(values)


def test_every_built_in_name_resolves_to_a_class_with_a_config():
    for kind, table in registry.BUILTIN.items():
        for name in table:
            assert registry.resolve(kind, name).Config is not None, (kind, name)


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(ConfigError, match=r"no model named 'hdemux'\. Did you mean 'hdemucs'"):
        registry.resolve("model", "hdemux")


@pytest.mark.parametrize("name", ["os:system", "mss.models.hdemucs:HDemucs", "../hdemucs", ""])
def test_a_name_never_becomes_an_import_path(name):
    with pytest.raises(ConfigError, match="no model named"):
        registry.resolve("model", name)


@pytest.mark.parametrize("name", [5, ["hdemucs"], None, {"name": "hdemucs"}])
def test_a_name_that_is_no_string_names_its_key(name):
    with pytest.raises(ConfigError, match=r"^model\.name: .* is not the name of a model\."):
        registry.build("model", {"name": name})


def test_an_unknown_name_is_told_with_its_key():
    with pytest.raises(ConfigError, match=r"^loss\.loss\.name: there is no loss named 'l1x'"):
        registry.build("loss", {"name": "l1x"}, ("vocals",), where="loss.loss")


class Fragile:
    """A class whose constructor stumbles."""

    Config = Inner

    def __init__(self, config: Inner, error: Exception) -> None:
        raise error


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), TypeError("bad"), ZeroDivisionError("bad"), RuntimeError("bad")],
    ids=lambda error: type(error).__name__,
)
def test_what_a_constructor_stumbles_over_is_an_error_of_its_group(monkeypatch, error):
    monkeypatch.setattr(registry, "resolve", lambda *_, **__: Fragile)
    message = (
        rf"^a\.model: these values do not build the model 'mine' \({type(error).__name__}: bad"
    )
    with pytest.raises(ConfigError, match=message) as caught:
        registry.build("model", {"name": "mine"}, error, where="a.model")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), ConfigError("model.depth: no"), AssertionError("no")]
)
def test_what_is_no_fault_of_the_values_or_well_told_stays_as_it_is(monkeypatch, error):
    monkeypatch.setattr(registry, "resolve", lambda *_, **__: Fragile)
    with pytest.raises(type(error), match=str(error)) as caught:
        registry.build("model", {"name": "mine"}, error)
    assert caught.value is error


def install_plugin(folder, monkeypatch, value):
    """Install the package gain-mask whose entry point `mine` names `value`."""
    facts = folder / "gain_mask-0.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gain-mask\nVersion: 0.1\n")
    (facts / "entry_points.txt").write_text(f"[stemgrid.model]\nmine = {value}\n")
    (folder / "gain_mask_plugin.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Config: pass\n"
        "class GainMask:\n    Config = Config\n"
        "class Bare: pass\n"
    )
    (folder / "gain_mask_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "gain_mask_plugin", raising=False)


def test_plugins_resolve_only_where_they_may(tmp_path, monkeypatch):
    install_plugin(tmp_path, monkeypatch, "gain_mask_plugin:GainMask")
    assert registry.resolve("model", "mine").__name__ == "GainMask"
    assert "mine" in registry.names("model")
    with pytest.raises(ConfigError, match="no model named 'mine'"):
        registry.resolve("model", "mine", plugins=False)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("gain_mask_plugin:GainMaks", r"cannot be loaded \(AttributeError: .*GainMaks"),
        ("gain_mask_nowhere:X", r"cannot be loaded \(ModuleNotFoundError: .*gain_mask_nowhere"),
        ("gain_mask_broken:X", r"cannot be loaded \(ZeroDivisionError: "),
        ("gain_mask_plugin:Bare", r"has no dataclass `Config`"),
    ],
)
def test_a_broken_plugin_is_named_with_its_package(tmp_path, monkeypatch, value, fault):
    install_plugin(tmp_path, monkeypatch, value)
    message = rf"^model\.name: the plug-in mine = {value} of gain-mask {fault}"
    with pytest.raises(ConfigError, match=message):
        registry.build("model", {"name": "mine"})


def test_without_a_close_name_all_are_listed():
    assert nearest_name_hint("zzz", ["b", "a"]) == " Known: a, b."
