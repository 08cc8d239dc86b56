"""Options that make no sense are refused when they are made."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mss.api.options import OutputOptions, SeparationOptions
from mss.core.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stems": ("a",), "two_stems": "a"}, "two_stems"),
        ({"stems": ("a", "a")}, "twice"),
        ({"stems": "vocals"}, r"stems: 'vocals' is one name; give several, as \('vocals',\)"),
        ({"stems": ("vocals", 1)}, "stems: 1 is not the name"),
        ({"two_stems": ("vocals",)}, "two_stems: .* is not the name of one source"),
        ({"shifts": -1}, "shifts: -1"),
        ({"shifts": 1.5}, "shifts: 1.5 is not a whole number, at least 0"),
        ({"shifts": None}, "shifts: None is not a whole number"),
        ({"shifts": float("nan")}, "shifts: nan is not a whole number"),
        ({"seed": "7"}, "seed: '7' is not a whole number$"),
        ({"batch_size": True}, "batch_size: True is not a whole number"),
        ({"threads": float("inf")}, "threads: inf is not a whole number"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"threads": 0}, "threads: 0"),
        ({"overlap": 1.0}, "overlap: 1"),
        ({"overlap": float("nan")}, "overlap: nan"),
        ({"overlap": "0.5"}, "overlap: '0.5'"),
        ({"overlap": False}, "overlap: False"),
        ({"segment": 0}, "segment: '0' is not a number of seconds, at least 0.05 s"),
        ({"segment": True}, "segment: 'True'"),
        ({"segment": float("nan")}, "segment: 'nan'"),
        ({"segment": 0.049}, "at least 0.05 s"),
        ({"segment": Fraction(-1)}, "at least 0.05 s"),
        ({"segment": "1/0"}, "segment: '1/0' is not a number"),
        ({"segment": 1e30}, r"segment: '1e\+30' is more than 86400 seconds, a day"),
        ({"segment": "1e999999999"}, "more than 86400 seconds"),
        ({"segment": "1e-999999999"}, "at least 0.05 s"),
        ({"segment": float("inf")}, "more than 86400 seconds"),
        ({"segment": "all"}, "segment: 'all'"),
        ({"backend": "tensorrt"}, "Known: auto, torch, openvino, onnx"),
    ],
)
def test_how_it_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SeparationOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "wav17"}, "wav16"),
        ({"rescale": "stem"}, "Known: none, shared"),
        ({"template": "{artist}.{ext}"}, "artist"),
    ],
)
def test_how_it_is_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OutputOptions(**options)


def test_seconds_are_exact() -> None:
    assert SeparationOptions(segment=7.8).segment == Fraction(39, 5)
    assert SeparationOptions(segment=Fraction(1, 3)).segment == Fraction(1, 3)
    assert SeparationOptions(segment="1/3").segment == Fraction(1, 3)
    assert SeparationOptions(segment=np.float32(0.1)).segment == Fraction(1, 10)
    assert SeparationOptions(segment=0.05).segment == Fraction(1, 20)
    assert SeparationOptions(segment=86_400).segment == 86_400
    assert SeparationOptions(segment="whole").segment == "whole"


def test_whole_numbers_of_any_kind_become_int() -> None:
    options = SeparationOptions(shifts=2.0, seed=np.int64(-3), batch_size=np.uint8(4))  # type: ignore[arg-type]
    assert (options.shifts, options.seed, options.batch_size) == (2, -3, 4)
    assert {type(options.shifts), type(options.seed), type(options.batch_size)} == {int}


def test_any_sequence_of_stems_is_taken() -> None:
    assert SeparationOptions(stems=["vocals", "drums"]).stems == ("vocals", "drums")  # type: ignore[arg-type]
