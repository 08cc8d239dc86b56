"""Names to classes, and yaml keys to typed values, with errors that help."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import pytest
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


def test_plugins_resolve_only_where_they_may(monkeypatch):
    class Entry:
        name = "mine"

        def load(self):
            return Config

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Entry()] if group == "stemgrid.model" else []
    )
    assert registry.resolve("model", "mine") is Config
    assert "mine" in registry.names("model")
    with pytest.raises(ConfigError, match="no model named 'mine'"):
        registry.resolve("model", "mine", plugins=False)


def test_without_a_close_name_all_are_listed():
    assert nearest_name_hint("zzz", ["b", "a"]) == " Known: a, b."
