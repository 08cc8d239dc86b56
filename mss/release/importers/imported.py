"""What a translator makes of a public checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mss.core.types import AudioSpec, InferenceDefaults


@dataclass(frozen=True)
class Imported:
    """A foreign model in our terms; a loader builds, checks and releases it.

    Attributes:
        arch: registered name of the architecture.
        config: plain values of its `Config`; every key that is left out has our default.
        spec: what the model takes and gives.
        state: its whole state dict under our names (float32).
        inference: how its authors run it over a file, or what comes near to it where that takes
            too much; None: as the architecture says.
        note: what a user should know about it, in a sentence for its card.
    """

    arch: str
    config: Mapping[str, Any]
    spec: AudioSpec
    state: dict[str, Tensor]
    inference: InferenceDefaults | None = None
    note: str | None = None


Translator = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Imported]
"""(options as the source states them, state dict under its names) -> Imported.

`options` is the whole parsed yaml for MSST, ``{"args": [...], "kwargs": {...}}`` for demucs. An
option that we have no counterpart for raises a ConfigError which names it, unless it is known to
change no result.
"""
