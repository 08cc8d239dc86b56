"""What separates recordings, whatever is inside: a model, a bag, an ensemble of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from mss.core.normalise import MonoStatistics, Normalisation
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.session import ModelInput, StreamingSession

Facts = tuple[Normalisation, ...]
"""What an engine has to know of a whole recording; opaque to all but the engine."""


class FirstPass(Protocol):
    """Gathers facts about a whole recording."""

    def feed(self, block: Tensor) -> None:
        """Take in the next samples [C, n]."""

    def finish(self) -> Facts:
        """End the recording; return what the engine's session needs."""


class Session(Protocol):
    """Separates one recording, block by block, at its own sample rate and channels."""

    channels: int

    @property
    def latency(self) -> int | None:
        """Fewer samples of the recording than this are held back; None: all, until `flush`."""

    def feed(self, block: Tensor) -> Tensor:
        """Take in the next samples [C, n] and return those that are done, [S, channels, m]."""

    def flush(self) -> Tensor:
        """End the recording: return its remaining samples [S, channels, m]."""


class Engine(Protocol):
    """Separates recordings of any sample rate and channels."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    def first_pass(self, samplerate: int, channels: int) -> FirstPass | None:
        """Return what listens to the whole recording first; None: the engine need not know it."""

    def session(self, samplerate: int, channels: int, facts: Facts = ()) -> Session:
        """Return the session of one recording.

        Args:
            samplerate: Hz.
            channels: of the recording.
            facts: from its first pass, where the engine has one.
        """


@dataclass(frozen=True)
class ModelEngine:
    """One model, or one bag of models on one grid of chunks.

    Attributes:
        chunk_fn: [B, C, T] -> [B, S, C, T].
        spec: what it takes and gives.
        inference: segment, overlap, window and normalisation.
        batch_size: chunks separated together.
        shifts: samples; the mean is taken over the grids that are moved by these. None: one grid.
    """

    chunk_fn: ChunkFn
    spec: AudioSpec
    inference: InferenceDefaults
    batch_size: int = 1
    shifts: tuple[int, ...] = field(default=())

    @property
    def sources(self) -> tuple[str, ...]:
        return self.spec.sources

    def first_pass(self, samplerate: int, channels: int) -> FirstPass | None:
        if self.inference.normalise == "none":
            return None
        return _Statistics(self.spec, self.inference, samplerate)

    def session(self, samplerate: int, channels: int, facts: Facts = ()) -> Session:
        normalisation = facts[0] if facts else Normalisation()
        return StreamingSession(
            self.chunk_fn,
            self.spec,
            self.inference,
            samplerate,
            channels,
            normalisation,
            self.batch_size,
        )


class _Statistics:
    """The statistics of what a model sees: its channels, its sample rate."""

    def __init__(self, spec: AudioSpec, inference: InferenceDefaults, samplerate: int) -> None:
        self._input = ModelInput(spec, samplerate)
        self._kind = inference.normalise
        self._statistics = MonoStatistics()

    def feed(self, block: Tensor) -> None:
        self._statistics.update(self._input.feed(block))

    def finish(self) -> Facts:
        self._statistics.update(self._input.flush())
        return (self._statistics.normalisation(self._kind),)
