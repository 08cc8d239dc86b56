"""Progressive self-knowledge distillation (PS-KD), in a form for separation.

Kim, Ji, Yoon and Hwang, "Self-knowledge distillation with progressive refinement of targets",
ICCV 2021: a model learns from a target between the reference and what it gave itself before,

    target = (1 - alpha_t) y + alpha_t p,

in which alpha_t grows with the epochs. Their p is the prediction that was made for a sample when it
was last seen. A separation model meets no sample twice (crops, remixes and gains are drawn anew),
so p is what a teacher gives for the very mix that the model is given: the model as it was when the
last epoch ended (`snapshot`), or its running average (`ema`). The paper's table of predictions
(`stored`) is there for fixed crops without augmentation, the only case in which it is defined.

What it amounts to, for p near the model's own estimate f (`tests/unit/distill`): under a squared
error the gradient is that of the plain loss times (1 - alpha), a learning rate that falls by
epochs, and a pull towards p. So a gain means nothing without its control (`schedule.fade`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.types import Batch, Progress, Target
from mss.distill.alpha import AlphaRamp
from mss.distill.base import TargetProvider
from mss.distill.curriculum import CurriculumConfig
from mss.distill.mixing import Domain, TargetMixer, onto_mix
from mss.distill.stored import StoredPredictions
from mss.distill.surroundings import Surroundings
from mss.distill.teachers import Average, OwnTeacher, Snapshot

TeacherKind = Literal["snapshot", "ema", "stored"]


@dataclass(frozen=True)
class ProgressiveConfig:
    """Keys of PS-KD.

    Attributes:
        teacher: snapshot, ema or stored; see the module.
        alpha: share of the teacher in the last epoch's target.
        warmup: epochs without a teacher; see AlphaRamp.
        domain: what is mixed: "wave" or "magnitude"; see TargetMixer.
        n_fft: samples of a frame, for "magnitude".
        hop: samples from frame to frame, for "magnitude".
        project: spread what the teacher's estimates lack of the mix evenly over them first.
        decay: of the average at an update, for "ema".
        curriculum: the songs of the first epochs.
    """

    teacher: TeacherKind = "snapshot"
    alpha: float = 0.8
    warmup: int = 1
    domain: Domain = "wave"
    n_fft: int = 4096
    hop: int = 1024
    project: bool = False
    decay: float = 0.999
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)


class ProgressiveDistillation(TargetProvider):
    """Mixes the target with what a teacher gives for the same (augmented) mix.

    Sources of which the target knows nothing stay unknown. In an epoch whose alpha is 0 the teacher
    is not asked, and the target is the one that came in.

    Raises:
        ConfigError: values that make no sense; a projection of sources that do not add up to the
            mix; stored predictions for segments that never come back as they were.
    """

    Config = ProgressiveConfig

    def __init__(
        self, config: ProgressiveConfig, run: Surroundings, where: str = "distill"
    ) -> None:
        self.ramp = AlphaRamp(config.alpha, config.warmup)
        self.ramp.check(where)
        if config.project and set(run.targets.all_stems) != set(run.stems):
            raise ConfigError(
                f"{where}.project: the targets leave out some of the data's stems "
                f"({', '.join(sorted(set(run.stems) - set(run.targets.all_stems)))}), so they do "
                "not add up to the mix; set it to false or take targets=all"
            )
        self.project = config.project
        self.mixer = TargetMixer(config.domain, config.n_fft, config.hop).to(run.device)
        self.own: OwnTeacher | None = None
        self.stored: StoredPredictions | None = None
        if config.teacher == "snapshot":
            self.own = Snapshot(run)
        elif config.teacher == "ema":
            if not 0 < config.decay < 1:
                raise ConfigError(f"{where}.decay: {config.decay} is not between 0 and 1")
            self.own = Average(run, config.decay)
        else:
            self.stored = StoredPredictions(run, where)
            self.needs_estimates = True

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        assert target is not None, "the references come first"
        alpha = self.ramp.at(progress.epoch, progress.epochs)
        if not alpha:
            return target
        mix = batch.mix if target.mix is None else target.mix
        taught = self._taught(batch, mix, progress)
        if self.project:
            taught = onto_mix(taught, mix)
        return replace(target, sources=self.mixer(target.sources, taught, alpha))

    def _taught(self, batch: Batch, mix: Tensor, progress: Progress) -> Tensor:
        """Return the teacher's estimates [B, S, C, T]."""
        if self.stored is not None:
            return self.stored.read(batch, progress)
        assert self.own is not None and self.own.ready, "a checkpoint without its teacher"
        return self.own(mix)

    def on_estimate(self, batch: Batch, waves: Tensor, progress: Progress) -> None:
        assert self.stored is not None
        self.stored.write(batch, waves, progress)

    def on_step(self, model: nn.Module) -> None:
        if self.own is not None:
            self.own.on_step(model)

    def on_epoch_end(self, model: nn.Module) -> None:
        if self.own is not None:
            self.own.on_epoch_end(model)
        else:
            assert self.stored is not None
            self.stored.on_epoch_end()

    def compute_in(self, parts: int) -> None:
        if self.own is not None:
            self.own.parts = parts

    def rehearsal(self, mix: Tensor) -> AbstractContextManager[None]:
        return super().rehearsal(mix) if self.own is None else self.own.rehearsal(mix)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.own is None else self.own.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.own is not None:
            self.own.load_state_dict(state)
