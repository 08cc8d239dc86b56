"""Augmentations of one item's stems, in a loader's worker: what a batch on the device can't do.

An item's draws come from the generator that the data set makes of (seed, epoch, index), so neither
worker nor rank changes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from mss.augment.batch import Probability
from mss.core import registry
from mss.core.types import AudioSpec


@dataclass(frozen=True)
class LoaderAugmentConfig:
    """The key that every augmentation has.

    Attributes:
        proba: how often it acts, in [0, 1]; 0 builds nothing. Of what it is the probability is told
            by each augmentation.
    """

    proba: Probability = 1.0


class LoaderAugment(ABC):
    """Stems of one item to stems of the item. Takes ``(config, spec)``; can be pickled.

    Attributes:
        backend: name of the program or library that does it, where a machine has a choice: another
            one gives other audio for the same configuration.
    """

    Config: ClassVar[type[LoaderAugmentConfig]] = LoaderAugmentConfig
    name: ClassVar[str]
    backend: str | None = None

    def __init__(self, config: LoaderAugmentConfig, spec: AudioSpec) -> None:
        self.config: Any = config
        self.spec = spec

    def input_frames(self, frames: int) -> int:
        """Return how many samples it takes to give `frames`, whatever is drawn."""
        return frames

    @abstractmethod
    def __call__(
        self, stems: Tensor, names: Sequence[str], frames: int, generator: np.random.Generator
    ) -> Tensor:
        """Map stems [K, C, input_frames(frames)] of these names to [K, C, frames]."""


class LoaderAugments:
    """Loader augmentations, applied in order.

    Attributes:
        augments: the members that act.
        backends: what each of those that had a choice works with. For a run's lock: a change in it
            is a change of the data.
    """

    def __init__(self, augments: Sequence[LoaderAugment]) -> None:
        self.augments = tuple(augments)
        self.backends = {
            augment.name: augment.backend for augment in augments if augment.backend is not None
        }

    def for_segments(self, frames: int) -> SegmentAugment:
        """Return the chain for segments of `frames` samples, counted behind it."""
        lengths = [frames]
        for augment in reversed(self.augments):
            lengths.append(augment.input_frames(lengths[-1]))
        first, *outputs = reversed(lengths)
        return SegmentAugment(self.augments, tuple(outputs), first - frames)


@dataclass(frozen=True)
class SegmentAugment:
    """A chain for segments of one length; it is a `LoaderAugment` of mss.data.segments.

    Attributes:
        augments: in their order.
        output_frames: samples that each of them gives.
        extra_frames: samples by which the last one's output is shorter than the first one's input.
    """

    augments: tuple[LoaderAugment, ...]
    output_frames: tuple[int, ...]
    extra_frames: int

    def __call__(
        self, stems: Tensor, names: tuple[str, ...], generator: np.random.Generator
    ) -> Tensor:
        """Map stems [K, C, T] to [K, C, T - extra_frames]."""
        assert stems.shape[-1] == self.output_frames[-1] + self.extra_frames, stems.shape
        for augment, frames in zip(self.augments, self.output_frames, strict=True):
            stems = augment(stems, names, frames, generator)
        return stems


def make_loader_augment(
    values: Mapping[str, Mapping[str, Any] | None], spec: AudioSpec
) -> LoaderAugments | None:
    """Build the chain of ``{name: keys}``, in the mapping's order; None: no member acts.

    A member whose `proba` is 0 is not built; its keys are checked all the same.

    Args:
        values: the yaml's `augment.loader`; None or {} for a member takes its defaults.
        spec: sample rate and channels of the stems.

    Raises:
        ConfigError: an unknown augmentation, a key or value that is wrong, or a program that one
            needs is not installed.
    """
    augments = []
    for name, keys in values.items():
        found = registry.resolve("loader_augment", name, where=f"augment.loader.{name}")
        config = registry.make_config(found.Config, keys or {}, f"augment.loader.{name}")
        if config.proba > 0:
            augments.append(found(config, spec))
    return LoaderAugments(augments) if augments else None
