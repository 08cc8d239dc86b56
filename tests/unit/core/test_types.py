"""Specifications refuse what can't be."""

from fractions import Fraction

import pytest

from mss.core.errors import ConfigError
from mss.core.registry import dump_config, make_config
from mss.core.types import AudioSpec, InferenceDefaults, to_seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "at least one source"),
        (("a", "a"), "stands twice"),
        (("../a",), "can't be a file's name"),
        ((".hidden",), "can't be a file's name"),
        (("",), "can't be a file's name"),
        (("a\0",), "can't be a file's name"),
    ],
)
def test_sources_that_could_not_be_written(arguments, message):
    with pytest.raises(ConfigError, match=message):
        AudioSpec(arguments)


def test_frames_round_down_as_in_the_field():
    assert AudioSpec(("a",)).frames(Fraction(39, 5)) == 343980
    assert AudioSpec(("a",), samplerate=3).frames(Fraction(1, 2)) == 1


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_overlap_is_a_share(overlap):
    with pytest.raises(ConfigError, match="overlap"):
        InferenceDefaults(segment=Fraction(1), overlap=overlap)


@pytest.mark.parametrize("context", [Fraction(-1, 2), Fraction(1, 2)])
def test_context_leaves_something_of_a_segment(context):
    with pytest.raises(ConfigError, match="context"):
        InferenceDefaults(segment=Fraction(1), context=context)


def test_a_file_that_lacks_newer_keys_is_run_as_it_always_was():
    """Its scores were measured so, whatever its class would say today."""
    old = {"segment": "39/5", "overlap": 0.25, "window": "triangle", "normalise": "file_mono_std"}
    read = make_config(InferenceDefaults, old, "header.inference")
    assert (read.context, read.tail) == (0, "short")
    new = InferenceDefaults(Fraction(39, 5), context=Fraction(1, 2), tail="centred")
    assert make_config(InferenceDefaults, dump_config(new), "header.inference") == new


def test_durations_are_exact():
    assert to_seconds(7.8) == to_seconds("39/5") == Fraction(39, 5)
    with pytest.raises(ValueError, match="number of seconds"):
        to_seconds("1/0")
