"""The chain of batch augmentations that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
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
        """Augment a batch: its stems, the trust in them, and the mix as the stems' sum.

        A recording that is in no stem is cut to the length of the stems, and nothing else happens
        to it. Stems that were mixed with one stay with it: what they may be mixed with depends on
        what it holds.
        """
        stems, trust = batch.stems, batch.trust
        bound = batch.unlabelled  # [B]
        for augment in self.augments:
            after, moved = augment(stems, key), augment.move_labels(trust, key)
            if augment.batch_multiple > 1 and bound.any():
                after = torch.where(rearrange(bound, "b -> b 1 1 1"), stems, after)
                moved = torch.where(rearrange(bound, "b -> b 1"), trust, moved)
            stems, trust = after, moved
        return replace(batch, trust=trust).with_stems(stems)


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
