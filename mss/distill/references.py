"""The first link of every chain: a data set's stems, summed to the model's sources."""

from __future__ import annotations

import torch

from mss.core.targets import TargetMap
from mss.core.types import Batch, Progress, Target
from mss.distill.base import TargetProvider


class References(TargetProvider):
    """Map stems [B, K, C, T] to sources [B, S, C, T].

    A source whose every stem is labelled weighs 1; with one unlabelled stem its sum is unknown, so
    it weighs 0.
    """

    def __init__(self, targets: TargetMap) -> None:
        self.targets = targets

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        sources = self.targets.sum_stems(batch.stems, batch.names)
        matrix = self.targets.matrix(batch.names).to(batch.stems.device)  # [S, K]
        unknown = (~batch.labelled).to(matrix.dtype) @ matrix.T  # [B, S] unlabelled stems a source
        return Target(sources, (unknown == 0).to(torch.float32), batch.mix)
