"""Unlabelled recordings in which a stem is silent: what Demucs did with its extra songs.

Defossez, Usunier, Bottou and Bach, "Demucs: deep extractor for music sources with extra unlabeled
data remixed" (arXiv 1909.01174): where source i is silent in an unlabelled recording m, a labelled
stem s_i on top of it is known by itself, and the others are known as a sum:

    x' = m + g s_i,   loss = |f_i - g s_i| + lambda |sum_{j != i} f_j - m|

Where a stem is silent is told by a presence net (`python -m tools.presence`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mss.core.errors import ConfigError
from mss.core.types import Batch, Progress, Remainder, Target
from mss.distill.base import TargetProvider
from mss.distill.surroundings import Surroundings
from mss.distill.unlabelled import UnlabelledConfig
from mss.losses.base import REMAINDER


@dataclass(frozen=True)
class SilentStemConfig(UnlabelledConfig):
    """Keys: those of UnlabelledConfig, of which `weight` is lambda."""


class SilentStem(TargetProvider):
    """Adds the weak loss: the sources that are unknown by themselves add up to the recording.

    The data gives the mix and the strong target (`mss.data.silent.SilentStemSegments`).

    Raises:
        ConfigError: the sources do not add up to the mix, or one has the name that the loss gives
            to the sum of the others.
    """

    Config = SilentStemConfig

    def __init__(self, config: SilentStemConfig, run: Surroundings, where: str = "distill") -> None:
        if set(run.targets.all_stems) != set(run.stems):
            raise ConfigError(
                f"{where}.name: the sources have to add up to a recording, and the targets leave "
                "out some stems; take targets=all"
            )
        if REMAINDER in run.targets.sources:
            raise ConfigError(
                f"targets.{REMAINDER}: with {where}.name=silent_stem the loss of a recording goes "
                "by this name; name the source (or the data's stem) otherwise"
            )
        self.weight = config.weight

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        assert target is not None, "the references come first"
        # also without any recording: ranks have to tell the same parts of a loss
        rest = torch.zeros_like(batch.mix) if batch.rest is None else batch.rest
        unlabelled = batch.unlabelled  # [B]
        members = (target.weight == 0) & unlabelled[:, None]
        weight = self.weight * (unlabelled & members.any(dim=1)).to(torch.float32)
        return replace(target, remainder=Remainder(rest, members, weight))
