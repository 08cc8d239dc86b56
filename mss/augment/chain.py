"""The chain of batch augmentations that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mss.augment.batch import AugmentKey, BatchAugment
from mss.core import registry
from mss.core.types import AudioSpec, Batch


class BatchAugments:
    """Batch augmentations, applied in order.

    Attributes:
        augments: the members that act.
        extra_frames: samples that the data set has to read beyond a segment.
        batch_multiple: the batch of a rank has to be a multiple of this.
    """

    def __init__(self, augments: Sequence[BatchAugment] = ()) -> None:
        self.augments = tuple(augments)
        self.extra_frames = sum(augment.extra_frames for augment in self.augments)
        self.batch_multiple = math.lcm(*(augment.batch_multiple for augment in self.augments))

    def __call__(self, stems: Tensor, key: AugmentKey) -> Tensor:
        """Map stems [B, K, C, T] to [B, K, C, T - extra_frames]."""
        for augment in self.augments:
            stems = augment(stems, key)
        return stems

    def apply(self, batch: Batch, key: AugmentKey) -> Batch:
        """Augment a batch: its stems, its labels with them, and the mix as the stems' sum."""
        labelled = batch.labelled
        for augment in self.augments:
            labelled = augment.move_labels(labelled, key)
        return replace(batch.with_stems(self(batch.stems, key)), labelled=labelled)


def make_batch_augments(
    values: Mapping[str, Mapping[str, Any] | None], spec: AudioSpec
) -> BatchAugments:
    """Build the chain of ``{name: keys}``, in the mapping's order.

    A member whose `proba` is 0 is not built; its keys are checked all the same.

    Args:
        values: the yaml's `augment.batch`; None or {} for a member takes its defaults.
        spec: sample rate and channels of the stems.

    Raises:
        ConfigError: an unknown augmentation, or a key or value that is wrong.
    """
    augments = []
    for name, keys in values.items():
        found = registry.resolve("batch_augment", name, where=f"augment.batch.{name}")
        config = registry.make_config(found.Config, keys or {}, f"augment.batch.{name}")
        if config.proba > 0:
            augments.append(found(config, spec))
    return BatchAugments(augments)
