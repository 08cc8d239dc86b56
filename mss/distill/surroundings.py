"""What a target provider may need of the run that it is part of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mss.core.separator import Separator
from mss.core.targets import TargetMap


@dataclass(frozen=True)
class Surroundings:
    """The parts of a run, for providers.

    Attributes:
        model: in training, on its device.
        targets: from the data's stems to the model's sources.
        stems: of the data.
        folder: of the run, which all ranks share.
        items: segments of an epoch.
        segment_frames: samples of a segment, as the model hears it.
        fixed_crops: item i of every epoch is the same crop.
        augmented: names of the augmentations that change a segment or its mix.
        autocast: the context in which a network computes.
        parts: in which a rank computes its share of a batch, to save memory; a provider is told
            (`compute_in`) where it changes.
        seed: of the run.
    """

    model: Separator
    targets: TargetMap
    stems: tuple[str, ...]
    folder: Path
    items: int
    segment_frames: int
    fixed_crops: bool = False
    augmented: tuple[str, ...] = ()
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    parts: int = 1
    seed: int = 0

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return next(self.model.parameters()).device
