"""Distillation from a released model: its estimates as part of the target."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import Batch, Progress, Target
from mss.distill.base import TargetProvider
from mss.distill.mixing import Domain, TargetMixer, onto_mix
from mss.distill.released import ReleasedTeacher, blends
from mss.distill.surroundings import Surroundings
from mss.distill.taught import TaughtStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherConfig:
    """Keys of the distillation from a released model.

    Attributes:
        model: its name in the release folder, or that of a bag; give the full one, whose end is a
            hash: a shorter one may mean another model tomorrow.
        blend: share of the teacher in the target of a source.
        blends: the same for single sources, by name.
        domain: what is mixed: "wave" or "magnitude"; see TargetMixer.
        n_fft: samples of a frame, for "magnitude".
        hop: samples from frame to frame, for "magnitude".
        project: spread what the teacher's estimates lack of the mix evenly over them first.
        cache: keep its estimates, where the segments come back in every epoch as they were.
    """

    model: str | None = None
    blend: float = 0.5
    blends: Mapping[str, float] = field(default_factory=dict)
    domain: Domain = "wave"
    n_fft: int = 4096
    hop: int = 1024
    project: bool = False
    cache: bool = True


class TeacherDistillation(TargetProvider):
    """Mixes the target with a released model's estimates of the same (augmented) mix:

        target_s = (1 - b_s) y_s + b_s p_s

    (Hinton, Vinyals and Dean,
    "Distilling the knowledge in a neural network", arXiv 1503.02531, for a regression.)

    Raises:
        ConfigError: the model is not there or does not fit; a share outside of [0, 1]; a source
            with a share that the teacher does not have.
    """

    Config = TeacherConfig

    def __init__(self, config: TeacherConfig, run: Surroundings, where: str = "distill") -> None:
        if not config.model:
            raise ConfigError(f"{where}.model: not set; name a released model: {where}.model=NAME")
        sources = run.targets.sources
        self.share = blends(config.blends, config.blend, sources, f"{where}.blends")
        self.teacher = ReleasedTeacher(
            config.model, run.targets, run.model.spec, run.device, f"{where}.model"
        )
        for source, share in zip(sources, self.share.tolist(), strict=True):
            if share and source not in self.teacher.taught:
                raise ConfigError(
                    f"{where}.blends.{source}: {self.teacher.name} has no such source, nor the "
                    f"stems it is the sum of; set +{where}.blends.{source}=0"
                )
        if config.project and len(self.teacher.taught) < len(sources):
            raise ConfigError(f"{where}.project: the teacher does not know every source")
        self.project = config.project
        self.mixer = TargetMixer(config.domain, config.n_fft, config.hop).to(run.device)
        self.parts = run.parts
        self.store: TaughtStore | None = None
        if config.cache and run.fixed_crops and not run.augmented:
            shape = (len(sources), run.model.spec.channels, run.segment_frames)
            self.store = TaughtStore(self.teacher.taught_digest, shape)
            logger.info(
                "The teacher's estimates of %d segments are kept: %.2f GiB in %s",
                run.items,
                self.store.gib * run.items,
                self.store.folder,
            )
        logger.info("Taught by %s", self.teacher.name)

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        assert target is not None, "the references come first"
        mix = batch.mix if target.mix is None else target.mix
        taught = self._taught(mix)
        if self.project:
            taught = onto_mix(taught, mix)
        share = self.share.to(taught).expand_as(target.weight)
        share = rearrange(share, "b s -> b s 1 1")
        mixed = self.mixer(target.sources, taught, share)
        # a spectrum and back is not the very wave, so what is not taught does not go that way
        return replace(target, sources=torch.where(share == 0, target.sources, mixed))

    def _taught(self, mix: Tensor) -> Tensor:
        """Return the teacher's estimates [B, S, C, T]."""

        def separate(mixes: Tensor) -> Tensor:
            return torch.cat([self.teacher(part) for part in mixes.chunk(self.parts)])

        return separate(mix) if self.store is None else self.store.get(mix, separate)

    def compute_in(self, parts: int) -> None:
        self.parts = parts

    @contextmanager
    def rehearsal(self, mix: Tensor) -> Iterator[None]:
        self.teacher(mix)  # not the store: it may hold this mix and lack the next
        yield

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": self.teacher.digest, "name": self.teacher.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make sure that the run goes on with the teacher that it began with.

        Raises:
            ValueError: it is another one.
        """
        if state["teacher"] != self.teacher.digest:
            raise ValueError(
                f"distill.model: this run was taught by {state['name']}, and the name now stands "
                f"for {self.teacher.name} or for other files; give the full name of that one"
            )
