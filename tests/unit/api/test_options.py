"""Options that make no sense are refused when they are made."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from mss.api.options import OutputOptions, SeparationOptions
from mss.core.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stems": ("a",), "two_stems": "a"}, "two_stems"),
        ({"stems": ("a", "a")}, "twice"),
        ({"shifts": -1}, "shifts: -1"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"threads": 0}, "threads: 0"),
        ({"overlap": 1.0}, "overlap: 1"),
        ({"overlap": float("nan")}, "overlap: nan"),
        ({"segment": 0}, "segment: 0"),
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
    assert SeparationOptions(segment="whole").segment == "whole"
