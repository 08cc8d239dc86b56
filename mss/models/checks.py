"""What is checked of every model's configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from mss.core.errors import ConfigError
from mss.core.separator import SeparatorConfig


def check_numbers(config: SeparatorConfig) -> None:
    """Raise a ConfigError unless `segment` is positive and every other number is finite."""
    if config.segment <= 0:
        raise ConfigError(f"model.segment: {config.segment} s is not positive")
    for field in fields(config):
        for number in _floats(getattr(config, field.name)):
            # nan passes every check of a range, since it compares as false
            if not math.isfinite(number):
                raise ConfigError(f"model.{field.name}: {number} is not a finite number")


def _floats(value: Any) -> Iterator[float]:
    """Yield the floats of a value, in nested tuples too."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _floats(item)
