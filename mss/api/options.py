"""What can be chosen for a separation. Nothing here imports torch."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from mss.core.audio_formats import OutputFormat, parse_format
from mss.core.errors import ConfigError
from mss.infer.rescale import Rescale
from mss.infer.song_names import DEFAULT_TEMPLATE, NameTemplate

Backend = Literal["auto", "torch", "openvino", "onnx"]
Precision = Literal["auto", "float32", "tf32", "bf16"]

WHOLE = "whole"
"""A segment: the whole recording at once."""

MIN_SEGMENT, MAX_SEGMENT = 0.05, 86_400
"""Seconds: less is no music to a model; more than a day is a slip."""


@dataclass(frozen=True)
class SeparationOptions:
    """How a model is run.

    Attributes:
        stems: the sources wanted, in this order; what only others need is not computed. Empty: all.
        two_stems: a source; it and the mixture without it ("no_<source>") come out.
        shifts: estimates are averaged over so many random shifts in time; 0: none.
        seed: decides the shifts.
        segment: seconds of one chunk, or "whole": the recording at once, in memory that grows
            with it. None: the model's.
        overlap: share of a chunk that the next one repeats, in [0, 1). None: the model's.
        batch_size: chunks separated together. None: as the machine is fastest.
        threads: CPU threads, of all songs together. None: as the machine is fastest.
        backend: what runs the network; "auto" takes an exported one where it is there and faster.
        precision: of products. "float32": exact. "bf16", "tf32": faster where the machine has it.
            "auto": a rounded one where its result was seen to stay close (55 dB), or on a GPU tf32.
        compile: let torch compile the network; None: on a GPU, where it pays for the length.
        residual: give what the stems leave of the mixture, too, as "residual".

    Raises:
        ConfigError: a value makes no sense.
    """

    stems: tuple[str, ...] = ()
    two_stems: str | None = None
    shifts: int = 0
    seed: int = 0
    segment: Fraction | float | str | None = None
    overlap: float | None = None
    batch_size: int | None = None
    threads: int | None = None
    backend: Backend = "auto"
    precision: Precision = "auto"
    compile: bool | None = None
    residual: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "stems", _names("stems", self.stems))
        if self.two_stems is not None and not isinstance(self.two_stems, str):
            raise ConfigError(f"two_stems: {self.two_stems!r} is not the name of one source")
        if self.stems and self.two_stems is not None:
            raise ConfigError("stems: goes with all sources, not with two_stems; give one of them")
        if len(set(self.stems)) != len(self.stems):
            raise ConfigError(f"stems: a source stands twice in {', '.join(self.stems)}")
        for field, least in (("shifts", 0), ("seed", None), ("batch_size", 1), ("threads", 1)):
            value = getattr(self, field)
            if value is None and field in ("batch_size", "threads"):
                continue
            object.__setattr__(self, field, whole_number(field, value, least))
        if self.overlap is not None:
            _check_overlap(self.overlap)
        if self.backend not in get_args(Backend):
            known = ", ".join(get_args(Backend))
            raise ConfigError(f"backend: there is no {self.backend!r}. Known: {known}")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise ConfigError(f"precision: there is no {self.precision!r}. Known: {known}")
        if self.segment is not None and self.segment != WHOLE:
            object.__setattr__(self, "segment", parse_seconds(self.segment))

    @property
    def seconds(self) -> Fraction | None:
        """The segment where it is a number of seconds."""
        return self.segment if isinstance(self.segment, Fraction) else None


@dataclass(frozen=True)
class OutputOptions:
    """How stems are written.

    Attributes:
        format: as mss.core.audio_formats.parse_format takes it, or what it returns.
        rescale: "none" or "shared" (mss.infer.rescale).
        template: where files go (mss.infer.song_names.NameTemplate).
        skip_existing: leave out songs whose files are all there.

    Raises:
        ConfigError: a value makes no sense.
    """

    format: OutputFormat | str = "wav16"
    rescale: Rescale = "none"
    template: NameTemplate | str = DEFAULT_TEMPLATE
    skip_existing: bool = False

    def __post_init__(self) -> None:
        if self.rescale not in get_args(Rescale):
            known = ", ".join(get_args(Rescale))
            raise ConfigError(f"rescale: there is no {self.rescale!r}. Known: {known}")
        object.__setattr__(self, "format", self.audio_format)
        object.__setattr__(self, "template", self.name_template)

    @property
    def audio_format(self) -> OutputFormat:
        return parse_format(self.format) if isinstance(self.format, str) else self.format

    @property
    def name_template(self) -> NameTemplate:
        return NameTemplate(self.template) if isinstance(self.template, str) else self.template


def parse_seconds(value: Fraction | float | str) -> Fraction:
    """Return the seconds of a segment, exactly as written: 7.8 is 39/5.

    Raises:
        ConfigError: it is no number from `MIN_SEGMENT` to `MAX_SEGMENT`.
    """
    text = str(value)
    try:
        # the float first: as a fraction, 1e999999999 would fill the memory
        about = float(text) if "/" not in text else float(Fraction(text))
        seconds = Fraction(text) if MIN_SEGMENT <= about <= MAX_SEGMENT else None
    except (ValueError, ArithmeticError):
        seconds, about = None, 0.0
    if seconds is None:
        shown = f"{text[:40]!r}"
        if about > MAX_SEGMENT:
            raise ConfigError(
                f"segment: {shown} is more than {MAX_SEGMENT} seconds, a day; give fewer, or "
                f"{WHOLE!r}"
            )
        raise ConfigError(
            f"segment: {shown} is not a number of seconds, at least {MIN_SEGMENT:g} s, as 7.8 is, "
            f"nor {WHOLE!r}"
        )
    return seconds


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Return a whole number; a float without a fraction, as 44100.0, is one.

    Args:
        name: of the argument, for messages.
        value: what was given.
        least: it must not be lower; None: any.

    Raises:
        ConfigError: it is none.
    """
    bound = "" if least is None else f", at least {least}"
    if not _is_real(value) or value % 1 != 0:
        raise ConfigError(f"{name}: {value!r} is not a whole number{bound}")
    if least is not None and value < least:
        raise ConfigError(f"{name}: {value} is not at least {least}")
    return int(value)


def _is_real(value: Any) -> bool:
    """Return whether this is a number; True is one to Python, but a slip here."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_overlap(overlap: Any) -> None:
    """Raise ConfigError where a share of a chunk is none."""
    if not _is_real(overlap) or not 0 <= overlap < 1:
        shown = f"{overlap:g}" if _is_real(overlap) else repr(overlap)
        raise ConfigError(f"overlap: {shown} is not from 0 to below 1")


def _names(field: str, value: Any) -> tuple[str, ...]:
    """Return names of sources as a tuple; a text alone would be taken for its letters.

    Raises:
        ConfigError: it is no sequence of names.
    """
    if isinstance(value, str):
        raise ConfigError(f"{field}: {value!r} is one name; give several, as ({value!r},)")
    names = tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{field}: {name!r} is not the name of a source")
    return names
