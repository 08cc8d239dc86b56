"""Augmentations of a batch of stems, on the device, before they are mixed.

Every draw is keyed by (name, seed, epoch, step, item or group), where item and group count through
the *global* batch of a step. Which rank holds an item, and what else is in its part of the batch,
changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar

import torch
from einops import rearrange, repeat
from pydantic import Field
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.rng import torch_generator
from mss.core.types import AudioSpec, Seconds

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class AugmentKey:
    """Where a batch stands in a run; what its draws depend on.

    Attributes:
        seed: of the run.
        epoch: from 0.
        step: batch of the epoch, from 0.
        first_item: position of the batch's first item in the global batch of this step: the rank
            times the batch size of one rank.
    """

    seed: int
    epoch: int
    step: int
    first_item: int = 0

    def generator(self, name: str, position: int) -> torch.Generator:
        """Return the CPU generator of one item or group of the global batch."""
        return torch_generator("augment", name, self.seed, self.epoch, self.step, position)


@dataclass(frozen=True)
class BatchAugmentConfig:
    """The key that every augmentation has.

    Attributes:
        proba: how often it acts, in [0, 1]; 0 builds nothing. Of what it is the probability
            (an item, a stem, a group) is told by each augmentation.
    """

    proba: Probability = 1.0


class BatchAugment(ABC):
    """Stems [B, K, C, T] to stems [B, K, C, T']. Takes ``(config, spec)``.

    Attributes:
        extra_frames: samples by which the output is shorter than the input (T - T'), so by how
            much longer the data set has to read.
        batch_multiple: the batch of a rank has to be a multiple of this.
    """

    Config: ClassVar[type[BatchAugmentConfig]] = BatchAugmentConfig
    name: ClassVar[str]
    extra_frames: int = 0
    batch_multiple: int = 1

    def __init__(self, config: BatchAugmentConfig, spec: AudioSpec) -> None:
        self.config: Any = config
        self.spec = spec

    @abstractmethod
    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        """Augment stems [B, K, C, T]."""

    def move_labels(self, labels: Tensor, key: AugmentKey) -> Tensor:
        """Return what is known of each stem [B, K] as it stands after the same call on them."""
        return labels

    def _item_generators(self, items: int, key: AugmentKey) -> Iterator[torch.Generator]:
        for item in range(items):
            yield key.generator(self.name, key.first_item + item)


@dataclass(frozen=True)
class ShiftConfig(BatchAugmentConfig):
    """Keys of Shift.

    Attributes:
        seconds: the longest shift.
        same: one offset for all the stems of an item, which keeps them in time.
    """

    seconds: Annotated[Seconds, Field(ge=0)] = Fraction(1)
    same: bool = False


class Shift(BatchAugment):
    """Crop each stem at a random offset: T samples in, T minus the longest shift out.

    `proba` is that of an item; the others are cropped at offset 0.
    """

    Config = ShiftConfig
    name = "shift"

    def __init__(self, config: ShiftConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.extra_frames = spec.frames(config.seconds)

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        items, stem_count, _, length = stems.shape
        frames = length - self.extra_frames
        if frames <= 0:
            raise ConfigError(
                f"augment.batch.shift.seconds: {self.config.seconds} s leaves nothing of"
                f" {length} samples; give a shorter shift or a longer segment"
            )
        draws = 1 if self.config.same else stem_count
        shifted = []
        for item, generator in zip(stems, self._item_generators(items, key), strict=True):
            acts = torch.rand((), generator=generator) < self.config.proba
            offsets = torch.randint(self.extra_frames + 1, (draws,), generator=generator) * acts
            starts = offsets.expand(stem_count).tolist()
            shifted.append(
                torch.stack(
                    [
                        stem[:, start : start + frames]
                        for stem, start in zip(item, starts, strict=True)
                    ]
                )
            )
        return torch.stack(shifted)  # [B, K, C, T - longest shift]


@dataclass(frozen=True)
class FlipConfig(BatchAugmentConfig):
    """Keys of FlipChannels and FlipSign; `proba` is that of a stem."""

    proba: Probability = 0.5


class _StemFlip(BatchAugment):
    """What acts on each stem of each item with a probability of its own."""

    Config = FlipConfig

    def _draw(self, stems: Tensor, key: AugmentKey) -> Tensor:
        """Return [B, K, 1, 1] bool: which stems flip."""
        items, stem_count = stems.shape[:2]
        draws = [
            torch.rand(stem_count, generator=generator) < self.config.proba
            for generator in self._item_generators(items, key)
        ]
        return rearrange(torch.stack(draws), "b k -> b k 1 1").to(stems.device)


class FlipChannels(_StemFlip):
    """Swap left and right of a stem. Mono has nothing to swap.

    Raises:
        ConfigError: more than two channels, where there is no left and right to know.
    """

    name = "flip_channels"

    def __init__(self, config: FlipConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        if spec.channels > 2:
            raise ConfigError(
                f"augment.batch.flip_channels: swaps left and right, but there are"
                f" {spec.channels} channels; set augment.batch.flip_channels.proba=0"
            )

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        return torch.where(self._draw(stems, key), stems.flip(dims=(2,)), stems)


class FlipSign(_StemFlip):
    """Invert the polarity of a stem."""

    name = "flip_sign"

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        return torch.where(self._draw(stems, key), -stems, stems)


@dataclass(frozen=True)
class ScaleConfig(BatchAugmentConfig):
    """Keys of Scale; `proba` is that of an item.

    Attributes:
        min: smallest gain (a factor, not dB).
        max: largest gain.
    """

    min: Annotated[float, Field(ge=0)] = 0.25
    max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.25


class Scale(BatchAugment):
    """Give each stem a gain, uniform in [min, max] (Uhlich et al., ICASSP 2017).

    Raises:
        ConfigError: min above max.
    """

    Config = ScaleConfig
    name = "scale"

    def __init__(self, config: ScaleConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        if config.min > config.max:
            raise ConfigError(
                f"augment.batch.scale.min: {config.min} is above max, {config.max}; swap them"
            )

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        items, stem_count = stems.shape[:2]
        low, high = self.config.min, self.config.max
        gains = []
        for generator in self._item_generators(items, key):
            acts = torch.rand((), generator=generator) < self.config.proba
            drawn = low + (high - low) * torch.rand(stem_count, generator=generator)
            gains.append(torch.where(acts, drawn, torch.ones(stem_count)))
        return stems * rearrange(torch.stack(gains), "b k -> b k 1 1").to(stems)


@dataclass(frozen=True)
class RemixConfig(BatchAugmentConfig):
    """Keys of Remix; `proba` is that of a group.

    Attributes:
        group_size: consecutive items of the global batch among which stems are exchanged.
    """

    group_size: Annotated[int, Field(ge=2)] = 4


class Remix(BatchAugment):
    """Exchange stems between the items of a group: drums of one song under another's vocals.

    Each stem has a permutation of its own, so every stem is still there once.

    Raises:
        ConfigError: a rank's batch that is no multiple of the group.
    """

    Config = RemixConfig
    name = "remix"

    def __init__(self, config: RemixConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.batch_multiple = config.group_size

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        items, stem_count = stems.shape[:2]
        origin = self._origins(items, stem_count, key).to(stems.device)
        return stems.gather(0, repeat(origin, "b k -> b k c t", c=stems.shape[2], t=stems.shape[3]))

    def move_labels(self, labels: Tensor, key: AugmentKey) -> Tensor:
        origin = self._origins(labels.shape[0], labels.shape[1], key)
        return labels.gather(0, origin.to(labels.device))

    def _origins(self, items: int, stem_count: int, key: AugmentKey) -> Tensor:
        """Return [B, K]: the item from which each stem comes."""
        size = self.config.group_size
        if items % size or key.first_item % size:
            raise ConfigError(
                f"augment.batch.remix.group_size: a rank's batch of {items} items is not a"
                f" multiple of the group of {size}; change one of the two"
            )
        origins = []
        for first in range(0, items, size):
            group = (key.first_item + first) // size
            generator = key.generator(self.name, group)
            acts = torch.rand((), generator=generator) < self.config.proba
            columns = [
                torch.randperm(size, generator=generator) if acts else torch.arange(size)
                for _ in range(stem_count)
            ]
            origins.append(first + torch.stack(columns, dim=1))
        return torch.cat(origins)
