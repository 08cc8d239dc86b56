"""The values that travel between the parts of the lab.

Axes, here and everywhere: B batch, K stems of a data set, S sources of a model, C channels,
T samples, F frequency bins, N frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import torch
from pydantic import BeforeValidator, PlainSerializer
from torch import Tensor

from mss.core.errors import ConfigError

if TYPE_CHECKING:
    from mss.core.stft import Stft


def to_seconds(value: Any) -> Fraction:
    """Convert a duration to an exact fraction of a second: 7.8 becomes 39/5, as written.

    A binary float is not what the user wrote, so it goes through its shortest decimal text.
    """
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{value!r} is not a number of seconds, such as 7.8 or 39/5") from error


Seconds = Annotated[Fraction, BeforeValidator(to_seconds), PlainSerializer(str, return_type=str)]
"""A config field in seconds: exact, written as 7.8, "39/5" or 10."""


@dataclass(frozen=True)
class AudioSpec:
    """What a model takes and gives.

    Attributes:
        sources: names of the separated sources, in the order of the S axis.
        samplerate: Hz.
        channels: audio channels of the mixture and of every source.
    """

    sources: tuple[str, ...]
    samplerate: int = 44100
    channels: int = 2

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("sources: a model needs at least one source to separate")
        if len(set(self.sources)) != len(self.sources):
            raise ConfigError(f"sources: a name stands twice in {list(self.sources)}")
        for name in self.sources:
            # A source's name becomes a file's name.
            if (
                not name
                or name != name.strip()
                or name.startswith(".")
                or set(name) & set('/\\:*?"<>|\0')
            ):
                raise ConfigError(
                    f"sources: {name!r} can't be a file's name; use letters, digits, _ -"
                )
        if self.samplerate <= 0:
            raise ConfigError(f"samplerate: {self.samplerate} Hz is not positive")
        if self.channels <= 0:
            raise ConfigError(f"channels: {self.channels} is not positive")

    def frames(self, seconds: Fraction) -> int:
        """Number of samples of a duration, rounded down as the field does (7.8 s: 343980)."""
        return int(seconds * self.samplerate)


Normalise = Literal["none", "file_mono_std"]

WindowKind = Literal["triangle", "hann", "flat", "linear_fade"]
"""Weight of a chunk's samples in the overlap-add; see mss.infer.plan.window_weights."""

Tail = Literal["short", "centred"]
"""What becomes of the chunks that a recording's end cuts; see InferenceDefaults."""


@dataclass(frozen=True)
class InferenceDefaults:
    """How a model wants to be run over a whole file; part of a release.

    A file that lacks a field was made before there was that field, and by a program that did what
    is now its default. So the default is what the file's scores were measured with, whatever the
    model's class would choose today.

    Attributes:
        segment: seconds of one chunk; None: the whole file at once.
        overlap: share of what a chunk keeps that the next one repeats, in [0, 1).
        window: weight of what a chunk keeps in the overlap-add: "triangle" (Demucs), "hann",
            "flat" or "linear_fade" (MSST).
        normalise: "file_mono_std" divides by the standard deviation of the whole file's mono
            mix after subtracting its mean (Demucs); "none" leaves the input as it is.
        context: seconds at each edge of a chunk that the model hears and whose estimate is
            discarded; at the file's own start and end nothing is.
        tail: the last chunks, which the file's end cuts, are separated as they are ("short"), or
            lengthened on both sides to a whole segment ("centred"), with the file's own samples
            where it has any and zeros elsewhere, and cut again (Demucs for its HTDemucs).
    """

    segment: Seconds | None
    overlap: float = 0.25
    window: WindowKind = "triangle"
    normalise: Normalise = "none"
    context: Seconds = Fraction(0)
    tail: Tail = "short"

    def __post_init__(self) -> None:
        if self.segment is not None and self.segment <= 0:
            raise ConfigError(f"segment: {self.segment} s is not positive")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap: {self.overlap} is not in [0, 1)")
        if self.context < 0:
            raise ConfigError(f"context: {self.context} s is negative")
        if self.segment is not None and 2 * self.context >= self.segment:
            raise ConfigError(
                f"context: {float(self.context):g} s at both edges leave nothing of a segment of "
                f"{float(self.segment):g} s; give less context or a longer segment"
            )


@dataclass
class Batch:
    """What a data set gives to the solver.

    Attributes:
        mix: [B, C, T]; the sum of *all* stems, also of those no source wants, and of `rest`.
        stems: [B, K, C, T] in the order of `names`.
        names: names of the K stems.
        trust: [B, K] float32 in [0, 1]: how far a stem's audio is to be learned from. 1: a
            reference; 0: the stem is unknown rather than silent; between: a pseudo-label.
        rest: [B, C, T], the part of an item's mix that is in no stem (the recording of a song
            without labels); zeros for the items that have none. None: no item has one.
        crops: [B] int64, which of the fixed crops each item is; None: crops are drawn anew.
    """

    mix: Tensor
    stems: Tensor
    names: tuple[str, ...]
    trust: Tensor
    rest: Tensor | None = None
    crops: Tensor | None = None

    @property
    def unlabelled(self) -> Tensor:
        """[B] bool: the items whose mix holds a recording that is in no stem."""
        if self.rest is None:
            return torch.zeros(len(self.mix), dtype=torch.bool, device=self.mix.device)
        return self.rest.flatten(1).any(dim=1)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device` (asynchronously from pinned memory)."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            mix=self.mix.to(device, non_blocking=True),
            stems=self.stems.to(device, non_blocking=True),
            trust=self.trust.to(device, non_blocking=True),
            rest=moved(self.rest),
            crops=moved(self.crops),
        )

    def with_stems(self, stems: Tensor) -> Batch:
        """Return a batch of other (augmented) stems [B, K, C, T'], its mix rebuilt as their sum.

        An augmentation may shorten the stems; `rest` is then cut at its end.
        """
        mix = stems.sum(dim=1)
        if self.rest is None:
            return replace(self, stems=stems, mix=mix)
        rest = self.rest[..., : stems.shape[-1]]
        return replace(self, stems=stems, mix=mix + rest, rest=rest)


@dataclass(frozen=True)
class Remainder:
    """What several sources of an item should add up to, where none is known by itself.

    Attributes:
        wave: [B, C, T], the sum.
        members: [B, S] bool: the sources that make it up.
        weight: [B], beside the weights of single sources; 0 where an item has no remainder.
    """

    wave: Tensor
    members: Tensor
    weight: Tensor


@dataclass
class Target:
    """What a model should give for a batch.

    Attributes:
        sources: [B, S, C, T].
        weight: [B, S], 0 where nothing is known about a source.
        mix: [B, C, T], what the model is given; None: the batch's mix.
        remainder: known sums of sources that are unknown by themselves.
    """

    sources: Tensor
    weight: Tensor
    mix: Tensor | None = None
    remainder: Remainder | None = None

    def chunk(self, count: int) -> list[Target]:
        """Return the target in at most `count` parts along B, as Tensor.chunk cuts a batch."""
        sources, weights = self.sources.chunk(count), self.weight.chunk(count)
        nothing = [None] * len(sources)
        mixes = nothing if self.mix is None else self.mix.chunk(count)
        remainders: Sequence[Remainder | None] = nothing
        if self.remainder is not None:
            fields = (self.remainder.wave, self.remainder.members, self.remainder.weight)
            remainders = [
                Remainder(*part)
                for part in zip(*(tensor.chunk(count) for tensor in fields), strict=True)
            ]
        return [Target(*part) for part in zip(sources, weights, mixes, remainders, strict=True)]


@dataclass
class Estimate:
    """What a model gives.

    Attributes:
        wave: [B, S, C, T], as long as the input mix.
        spec: [B, S, C, F, N] complex, where the model works in the spectral domain.
        stft: the transform that made `spec`.
    """

    wave: Tensor
    spec: Tensor | None = None
    stft: Stft | None = None


@dataclass
class LossReport:
    """A loss to minimise and the named parts it is made of (detached, for the log).

    Attributes:
        total: scalar, the mean over what the loss's `weight` of the target sums up.
        parts: scalars; NaN where nothing is known.
        part_weights: what each part is a mean over, as the total is over the loss's weight; a part
            that is not named here has the total's.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    part_weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a run stands: epoch of epochs, step of the steps in this epoch, both from 0."""

    epoch: int
    epochs: int
    step: int = 0
    steps: int = 1


ChunkFn = Callable[[Tensor], Tensor]
"""[B, C, T] -> [B, S, C, T]: models, backends, flips, bags and ensembles compose as these."""

Separate = Callable[[Tensor], Tensor]
"""[C, T] -> [S, C, T]: a whole recording."""


class Track(Protocol):
    """One song of a data set, read partially.

    `stems` are the names it can read; "mixture" may be read too where `has_mixture`.
    """

    @property
    def name(self) -> str: ...

    @property
    def length(self) -> int:
        """Samples."""
        ...

    @property
    def samplerate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def stems(self) -> tuple[str, ...]: ...

    @property
    def has_mixture(self) -> bool: ...

    def read(self, stem: str, start: int = 0, frames: int | None = None) -> Tensor:
        """Return [C, frames] float32 from sample `start` (to the end where frames is None)."""
        ...
