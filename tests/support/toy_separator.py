"""The least separator that can be exported: one convolution over the waveform."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor, nn

from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, Seconds

SPEC = AudioSpec(("vocals", "other"), samplerate=1000)


@dataclass(frozen=True)
class ToyConfig(SeparatorConfig):
    """Its width decides nothing but the configuration."""

    segment: Seconds = Fraction(1, 2)
    width: int = 3
    gain: float = 1.0


class ToySeparator(Separator):
    """Weights are drawn from seed 0."""

    Config: ClassVar[type[SeparatorConfig]] = ToyConfig

    def __init__(self, config: ToyConfig | None = None, spec: AudioSpec = SPEC) -> None:
        config = config or ToyConfig()
        super().__init__(config, spec)
        channels, self._gain = spec.channels, config.gain
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv1d(
                channels, len(spec.sources) * channels, config.width, padding="same"
            )

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        out: Tensor = self.convolution(inputs[0]) * self._gain
        return (out,)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        return Estimate(outputs[0].unflatten(1, (len(self.spec.sources), self.spec.channels)))

    @classmethod
    def tiny(cls, spec: AudioSpec) -> ToySeparator:
        return cls(spec=spec)
