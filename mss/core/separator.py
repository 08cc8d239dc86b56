"""The base class of every separation model: analyse, network, synthesise."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from mss.core.errors import ConfigError, nearest_name_hint
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
    rounded_modules: ClassVar[tuple[str, ...]] = ()
    """Modules of `network` (their names) in which the factors of products may be rounded to
    bfloat16 on a CPU that is faster so: inside of residual branches, where it costs least."""
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

    def keep_sources(self, sources: Sequence[str]) -> Separator:
        """Return a model, for evaluation, of only some sources, in the order asked for.

        What it estimates is what this one does for them; what only the others need is not computed,
        where the architecture allows that. It shares this one's weights, but for the rows of a last
        layer that it may need; this one stays as it is.

        Args:
            sources: names out of `spec.sources`.

        Raises:
            ConfigError: none, an unknown one, or one that stands twice.
        """
        rows = source_rows(self.spec, sources)
        spec = replace(self.spec, sources=tuple(sources))
        # the modules are copied, so that eval() and what is dropped leave the original alone
        shared: dict[int, Any] = {id(t): t for t in (*self.parameters(), *self.buffers())}
        kept: Separator = copy.deepcopy(self, shared)
        if rows != tuple(range(len(self.spec.sources))):
            if kept._keep_rows(rows):
                kept.spec = spec
            else:
                kept = PickedSources(kept, spec)
        return kept.eval()

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        """Drop what only other sources need, so that the estimates in evaluation are these rows.

        Models override it. Returns False, and changes nothing, where those rows need all of it.
        """
        return False

    @classmethod
    @abstractmethod
    def tiny(cls, spec: AudioSpec) -> Separator:
        """Return an instance small enough for a contract test (well below 1 M parameters)."""


class PickedSources(Separator):
    """Some sources of a model that has to estimate all of them.

    Args:
        model: estimates them all.
        spec: with the sources to pick, in any order.
    """

    def __init__(self, model: Separator, spec: AudioSpec) -> None:
        super().__init__(model.config, spec)
        self.model = model
        self._rows = list(source_rows(model.spec, spec.sources))

    @property
    def inference(self) -> InferenceDefaults:
        return self.model.inference

    def analyse(self, mix: Tensor) -> Features:
        return self.model.analyse(mix)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.model.network(*inputs)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        every = self.model.synthesise(features, outputs)
        spec = None if every.spec is None else every.spec[:, self._rows]
        return Estimate(every.wave[:, self._rows], spec, every.stft)

    @classmethod
    def tiny(cls, spec: AudioSpec) -> Separator:
        raise NotImplementedError("it is made from a model, by Separator.keep_sources")


def source_rows(spec: AudioSpec, sources: Sequence[str]) -> tuple[int, ...]:
    """Return where names stand among a model's sources.

    Raises:
        ConfigError: none, an unknown one, or one that stands twice.
    """
    for name in sources:
        if name not in spec.sources:
            raise ConfigError(
                f"sources: the model has no {name!r}.{nearest_name_hint(name, spec.sources)}"
            )
    replace(spec, sources=tuple(sources))  # raises where there is none, or one twice
    return tuple(spec.sources.index(name) for name in sources)


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
