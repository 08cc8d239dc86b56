"""What a target provider is given in the unit tests: a toy model, stems and batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_separator import ToyConfig, ToySeparator

from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Batch, Progress, Target
from mss.distill.references import References
from mss.distill.surroundings import Surroundings

STEMS = ("drums", "bass", "vocals")
SPEC = AudioSpec(STEMS, samplerate=1000)
FRAMES = 200


def toy_model(seed: int = 0) -> ToySeparator:
    """Return a toy separator of three sources, whose weights are drawn from the seed."""
    model = ToySeparator(ToyConfig(), SPEC)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def surroundings(folder: Path = Path("run"), **changes: Any) -> Surroundings:
    """Return those of a run of the toy model."""
    run = Surroundings(toy_model(), TargetMap.make({}, STEMS), STEMS, folder, 8, FRAMES)
    return replace(run, **changes)


def toy_batch(items: int = 4, seed: int = 1, **changes: Any) -> Batch:
    """Return a batch of noise, all of whose stems are trusted."""
    generator = torch.Generator().manual_seed(seed)
    stems = torch.randn(items, len(STEMS), SPEC.channels, FRAMES, generator=generator)
    batch = Batch(stems.sum(dim=1), stems, STEMS, torch.ones(items, len(STEMS)))
    return replace(batch, **changes)


def unlabelled_batch(labelled: int, unlabelled: int, seed: int = 2) -> Batch:
    """Return labelled items, and behind them recordings that are in no stem."""
    batch = toy_batch(labelled + unlabelled, seed)
    rest = torch.zeros_like(batch.mix)
    rest[labelled:] = batch.mix[labelled:]
    stems, trust = batch.stems.clone(), batch.trust.clone()
    stems[labelled:], trust[labelled:] = 0, 0
    return Batch(stems.sum(dim=1) + rest, stems, STEMS, trust, rest)


def references(batch: Batch) -> Target:
    """Return the target that a chain begins with."""
    return References(TargetMap.make({}, STEMS))(batch, None, Progress(0, 1))


def estimate(model: ToySeparator, mix: Tensor) -> Tensor:
    """Return what a model gives for [B, C, T], without gradients."""
    with torch.no_grad():
        return model(mix).wave
