"""Released models that need no training: one source is what is above zero, one what is below."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate
from mss.release.export import export_model

RATE = 8000


class Signs(Separator):
    """Two sources: a gain times the samples above zero, and one times those below."""

    Config = SeparatorConfig

    def __init__(self, config: SeparatorConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.gains = torch.nn.Parameter(torch.ones(2))

    def analyse(self, mix: Tensor) -> Features:
        return Features((mix,))

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        parts = torch.stack([inputs[0].clamp_min(0), inputs[0].clamp_max(0)], dim=1)
        return (parts * self.gains[:, None, None],)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        return Estimate(outputs[0])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> "Signs":
        return cls(SeparatorConfig(), spec)


def release_signs(
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    signature: str = "aaaa1111",
    gains: tuple[float, float] = (1.0, 1.0),
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Release a model of vocals and drums; return its full name."""
    monkeypatch.setitem(registry.BUILTIN["model"], "signs", f"{Signs.__module__}:Signs")
    model = Signs.tiny(AudioSpec(("vocals", "drums"), RATE, channels=1))
    with torch.no_grad():
        model.gains.copy_(torch.tensor(gains))
    path = export_model(model, repo, arch="signs", signature=signature, provenance=provenance)
    return path.stem
