"""The base class of every separation model: analyse, network, synthesise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds


@dataclass(frozen=True)
class SeparatorConfig:
    """Keys that every model has.

    Attributes:
        segment: seconds of audio the model was made for: one training crop and, unless told
            otherwise, one chunk at inference.
    """

    segment: Seconds = Fraction(10)


@dataclass
class Features:
    """What `analyse` hands on.

    Attributes:
        inputs: real tensors for `network`.
        context: what `synthesise` needs besides the network's outputs (complex spectra, scales,
            the length in samples).
    """

    inputs: tuple[Tensor, ...]
    context: dict[str, Any] = field(default_factory=dict)


class Separator(nn.Module, ABC):
    """A model that takes a mixture [B, C, T] apart into S sources [B, S, C, T], for any T >= 1.

    The three steps are kept apart because only `network` (real tensors in and out) can be
    compiled, exported or quantised; complex spectra stay outside of it.

    Subclasses set `Config`, a frozen dataclass derived from SeparatorConfig, and take
    ``(config, spec)``.
    """

    Config: ClassVar[type[SeparatorConfig]]
    spec: AudioSpec

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__()
        check_numbers(config)
        self.config = config
        self.spec = spec

    @property
    def segment(self) -> Fraction:
        """Seconds of one chunk."""
        return self.config.segment

    @property
    def inference(self) -> InferenceDefaults:
        """How this model is run over a whole file, unless its user says otherwise."""
        return InferenceDefaults(segment=self.config.segment)

    @abstractmethod
    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into the network's inputs."""

    @abstractmethod
    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map real tensors to real tensors."""

    @abstractmethod
    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Turn the network's outputs into waves [B, S, C, T]."""

    def forward(self, mix: Tensor) -> Estimate:
        """Separate a mixture [B, C, T], T >= 1."""
        features = self.analyse(mix)
        return self.synthesise(features, self.network(*features.inputs))

    @classmethod
    @abstractmethod
    def tiny(cls, spec: AudioSpec) -> Separator:
        """Return an instance small enough for a contract test (well below 1 M parameters)."""


def check_numbers(config: SeparatorConfig) -> None:
    """Raise a ConfigError unless `segment` is positive and every other number is finite."""
    if config.segment <= 0:
        raise ConfigError(f"model.segment: {config.segment} s is not positive")
    for key in fields(config):
        for number in _floats(getattr(config, key.name)):
            # nan passes every check of a range, since it compares as false
            if not math.isfinite(number):
                raise ConfigError(f"model.{key.name}: {number} is not a finite number")


def _floats(value: Any) -> Iterator[float]:
    """Yield the floats of a value, in nested tuples too."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _floats(item)
