"""Learning from recordings of which no stem is known: RemixIT and the mean teacher.

Both have a teacher that is a running average of the student, which a resume finds in the
checkpoint. They act on the items of a batch that hold such a recording (`Batch.rest`), and leave
the labelled ones alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from mss.core import distrib
from mss.core.errors import ConfigError
from mss.core.rng import torch_generator
from mss.core.types import Batch, Progress, Target
from mss.data.decoded import CacheKind
from mss.distill.base import TargetProvider
from mss.distill.surroundings import Surroundings
from mss.distill.teachers import Average

Share = Annotated[float, Field(gt=0, le=0.5)]


@dataclass(frozen=True)
class UnlabelledConfig:
    """Keys of every training that hears unlabelled recordings beside the labelled songs.

    Attributes:
        songs: what the recordings are called, in signatures.
        root: a folder with a folder for each, ROOT/NAME/mixture.wav. No part of a signature.
        share: of the items that are of them; at most a half.
        weight: of a source of them, beside 1 for one of a labelled song.
        cache: none, int16 or float32: keep decoded copies in the cache folder.
    """

    songs: str | None = None
    root: str | None = None
    share: Share = 0.5
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    cache: CacheKind = "none"


@dataclass(frozen=True)
class AveragedTeacherConfig(UnlabelledConfig):
    """Further keys.

    Attributes:
        decay: of the teacher's average, at an update.
        warmup: epochs without it.
    """

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    warmup: Annotated[int, Field(ge=1)] = 1


class AveragedTeacher(TargetProvider):
    """What RemixIT and the mean teacher share.

    Raises:
        ConfigError: the sources do not add up to the mix.
    """

    def __init__(self, config: Any, run: Surroundings, where: str = "distill") -> None:
        if set(run.targets.all_stems) != set(run.stems):
            raise ConfigError(
                f"{where}.name: what a teacher makes of a recording has to add up to it, and the "
                "targets leave out some stems; take targets=all"
            )
        self.config = config
        self.run = run
        self.teacher = Average(run, config.decay)

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        assert target is not None, "the references come first"
        chosen = batch.unlabelled
        if progress.epoch < self.config.warmup or not chosen.any():
            return target
        assert self.teacher.ready, "a checkpoint without its teacher"
        mix = batch.mix if target.mix is None else target.mix
        waves = self.teacher(mix[chosen])  # [U, S, C, T]
        new_mix, sources, weight = self.teach(mix[chosen], waves, chosen, progress)
        mixes, targets, weights = mix.clone(), target.sources.clone(), target.weight.clone()
        mixes[chosen], targets[chosen] = new_mix.to(mix), sources.to(targets)
        weights[chosen] = weight
        return replace(target, mix=mixes, sources=targets, weight=weights)

    @abstractmethod
    def teach(
        self, mix: Tensor, waves: Tensor, chosen: Tensor, progress: Progress
    ) -> tuple[Tensor, Tensor, float]:
        """Return what the student hears [U, C, T], should give [U, S, C, T], and its weight.

        Args:
            mix: [U, C, T], the recordings.
            waves: [U, S, C, T], what the teacher makes of them.
            chosen: [B] bool, where they are in this rank's share of the batch.
            progress: of the run.
        """

    def positions(self, chosen: Tensor) -> list[int]:
        """Return where the chosen items stand in the global batch."""
        first = distrib.rank() * len(chosen)
        return [first + int(index) for index in chosen.nonzero().flatten()]

    def on_step(self, model: nn.Module) -> None:
        self.teacher.on_step(model)

    def compute_in(self, parts: int) -> None:
        self.teacher.parts = parts

    def rehearsal(self, mix: Tensor) -> AbstractContextManager[None]:
        return self.teacher.rehearsal(mix)

    def state_dict(self) -> dict[str, Any]:
        return self.teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state)


@dataclass(frozen=True)
class RemixItConfig(AveragedTeacherConfig):
    """Further keys.

    Attributes:
        group_size: consecutive items of the global batch among which estimates are exchanged.
    """

    group_size: Annotated[int, Field(ge=2)] = 4


class RemixIt(AveragedTeacher):
    """The teacher's estimates, exchanged between recordings and mixed anew, are mix and target.

    (Tzinis, Adi, Ithapu, Xu, Smaragdis and Kumar, "RemixIT: continual self-training of speech
    enhancement models via bootstrapped remixing", IEEE JSTSP 2022, arXiv 2202.08862.) What the
    teacher got wrong in one recording lies under another one's mix, where it can't be learned as
    such.

    A group is of recordings alone or of labelled items alone (`mss.data.mixed`), and no rank has a
    part of one, so a recording has others to exchange with (unless all of them are silent).
    """

    Config = RemixItConfig

    def teach(
        self, mix: Tensor, waves: Tensor, chosen: Tensor, progress: Progress
    ) -> tuple[Tensor, Tensor, float]:
        size = self.config.group_size
        rows: dict[int, list[int]] = {}  # of each group, the recordings that are in it
        for row, position in enumerate(self.positions(chosen)):
            rows.setdefault(position // size, []).append(row)
        origin = torch.empty(waves.shape[:2], dtype=torch.long)  # [U, S]
        for group, members in rows.items():
            generator = torch_generator(
                "remixit", self.run.seed, progress.epoch, progress.step, group
            )
            within = torch.tensor(members)
            first = int(torch.randint(len(members), (), generator=generator))
            for source in range(waves.shape[1]):  # neighbouring sources come from different songs
                origin[within, source] = within.roll(first + source)
        index = origin.to(waves.device)[:, :, None, None].expand_as(waves)
        remixed = waves.gather(0, index)
        return remixed.sum(dim=1), remixed, self.config.weight


@dataclass(frozen=True)
class MeanTeacherConfig(AveragedTeacherConfig):
    """Further keys.

    Attributes:
        ramp: epochs after the warm-up in which the weight grows.
        gain: the student hears a recording louder or softer by up to so many dB.
    """

    ramp: Annotated[int, Field(ge=0)] = 5
    gain: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 6.0


class MeanTeacher(AveragedTeacher):
    """The student is to give what the averaged one gives for the same recording, heard otherwise.

    (Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780.) Otherwise: at another gain, in other
    polarity, and with its channels swapped, each with a probability of a half; the same happens to
    the target. The weight grows as exp(-5 (1 - t)^2) over `ramp` epochs, as theirs.
    """

    Config = MeanTeacherConfig

    def teach(
        self, mix: Tensor, waves: Tensor, chosen: Tensor, progress: Progress
    ) -> tuple[Tensor, Tensor, float]:
        gains, swaps = [], []
        for position in self.positions(chosen):
            generator = torch_generator(
                "mean_teacher", self.run.seed, progress.epoch, progress.step, position
            )
            level, polarity, swap = torch.rand(3, generator=generator).tolist()
            factor = 10 ** ((2 * level - 1) * self.config.gain / 20)
            gains.append(-factor if polarity < 0.5 else factor)
            swaps.append(swap < 0.5)
        gain = torch.tensor(gains).to(mix)
        swapped = torch.tensor(swaps, device=mix.device)
        mix = torch.where(rearrange(swapped, "u -> u 1 1"), mix.flip(1), mix)
        waves = torch.where(rearrange(swapped, "u -> u 1 1 1"), waves.flip(2), waves)
        mix = mix * rearrange(gain, "u -> u 1 1")
        return (
            mix,
            waves * rearrange(gain, "u -> u 1 1 1"),
            self.config.weight * self._grown(progress),
        )

    def _grown(self, progress: Progress) -> float:
        since = progress.epoch - self.config.warmup + progress.step / progress.steps
        if since >= self.config.ramp:
            return 1.0
        return math.exp(-5 * (1 - since / self.config.ramp) ** 2)
