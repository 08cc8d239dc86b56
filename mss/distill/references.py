"""The first link of every chain: a data set's stems, summed to the model's sources."""

from __future__ import annotations

from mss.core.targets import TargetMap
from mss.core.types import Batch, Progress, Target
from mss.distill.base import TargetProvider


class References(TargetProvider):
    """Map stems [B, K, C, T] to sources [B, S, C, T].

    A source is trusted as far as the least trusted of its stems: with one unlabelled stem its sum
    is unknown, so it weighs 0.
    """

    def __init__(self, targets: TargetMap) -> None:
        self.targets = targets

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        sources = self.targets.sum_stems(batch.stems, batch.names)
        member = self.targets.matrix(batch.names).to(batch.trust.device) > 0  # [S, K]
        trust = batch.trust[:, None, :].expand(-1, len(member), -1)  # [B, S, K]
        weight = trust.masked_fill(~member, 1.0).amin(dim=-1)
        return Target(sources, weight, batch.mix)
