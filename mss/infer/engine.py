"""What separates recordings, whatever is inside: a model, a bag, an ensemble of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

from mss.core.normalise import MonoStatistics, Normalisation
from mss.core.types import AudioSpec, ChunkFn, InferenceDefaults
from mss.infer.groups import Group, GroupedSession, channel_groups
from mss.infer.plan import make_plan
from mss.infer.session import ModelInput, StreamingSession

Facts: TypeAlias = "tuple[Normalisation | Facts, ...]"
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
    """Of the recording, and of every stem."""

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
        inference: how it is run over a recording.
        batch_size: chunks separated together.
        shifts: samples of the model's rate; the mean is taken over the grids of chunks that start
            this much before the recording (see draw_shifts). None: one grid.

    Raises:
        ConfigError: these make no grid.
    """

    chunk_fn: ChunkFn
    spec: AudioSpec
    inference: InferenceDefaults
    batch_size: int = 1
    shifts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        make_plan(self.spec, self.inference, self.batch_size, shifts=self.shifts)

    @property
    def sources(self) -> tuple[str, ...]:
        return self.spec.sources

    def first_pass(self, samplerate: int, channels: int) -> FirstPass | None:
        """Return what gathers the statistics that the model is normalised by, if it is.

        Raises:
            DataError: so many channels have no known layout.
        """
        groups = channel_groups(channels, self.spec.channels)
        if self.inference.normalise == "none":
            return None
        return _Statistics(self.spec, self.inference, samplerate, groups)

    def session(self, samplerate: int, channels: int, facts: Facts = ()) -> Session:
        """Return the session of one recording; a group of its channels has its own statistics.

        Raises:
            DataError: so many channels have no known layout.
        """
        groups = channel_groups(channels, self.spec.channels)
        if self.inference.normalise == "none":
            facts = (Normalisation(),) * len(groups)
        assert len(facts) == len(groups), "a model that normalises needs the facts of a first pass"
        sessions = [
            self._session(samplerate, len(group), fact)
            for group, fact in zip(groups, facts, strict=True)
        ]
        return sessions[0] if len(sessions) == 1 else GroupedSession(groups, sessions)

    def _session(
        self, samplerate: int, channels: int, fact: Normalisation | Facts
    ) -> StreamingSession:
        assert isinstance(fact, Normalisation), "the facts are another engine's"
        return StreamingSession(
            self.chunk_fn,
            self.spec,
            self.inference,
            samplerate,
            channels,
            fact,
            self.batch_size,
            self.shifts,
        )


class _Statistics:
    """The statistics of what a model sees of each group: its channels, its sample rate."""

    def __init__(
        self,
        spec: AudioSpec,
        inference: InferenceDefaults,
        samplerate: int,
        groups: Sequence[Group],
    ) -> None:
        self._kind = inference.normalise
        self._groups = [
            (list(group), ModelInput(spec, samplerate), MonoStatistics()) for group in groups
        ]

    def feed(self, block: Tensor) -> None:
        for group, model_input, statistics in self._groups:
            statistics.update(model_input.feed(block[group]))

    def finish(self) -> Facts:
        for _, model_input, statistics in self._groups:
            statistics.update(model_input.flush())
        return tuple(statistics.normalisation(self._kind) for *_, statistics in self._groups)
