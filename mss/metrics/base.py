"""What a score says of itself, so that no two definitions share a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import packages_distributions, version
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError

OverTracks = Literal["mean", "median"]


@dataclass(frozen=True)
class Measure:
    """One kind of score.

    Attributes:
        name: column of a table, key of a results file.
        unit: of the score.
        higher_is_better: which way is better. Nothing is ever concluded from the name.
        definition: what is computed for one track, in one line.
        citation: where the definition comes from.
        over_tracks: how the tracks' scores become one number.
        has_baseline: what doing nothing scores is a bar to beat. It is none for a measure that
            looks at artefacts only, of which the mixture has none.
    """

    name: str
    unit: str
    higher_is_better: bool
    definition: str
    citation: str
    over_tracks: OverTracks = "mean"
    has_baseline: bool = True


class Metric(ABC):
    """Scores whole recordings; may give several measures at once. Takes its config alone."""

    Config: ClassVar[type[Any]]
    config: Any

    needs_mixture: ClassVar[bool] = False
    """Whether the mixture itself takes part: then `score_with_mixture` is what is called."""

    @property
    @abstractmethod
    def measures(self) -> tuple[Measure, ...]:
        """What the scores say, one for each kind."""

    @abstractmethod
    def score(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Mapping[str, Tensor]:
        """Compare references and estimates [S, C, T] at `samplerate` Hz.

        Returns:
            [S] float64 by the measure's name; NaN where the measure is not defined, as for a silent
            reference.
        """

    def score_with_mixture(
        self, reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int
    ) -> Mapping[str, Tensor]:
        """Compare as `score` does, in view of the mixture [C, T]; most metrics ignore it."""
        return self.score(reference, estimate, samplerate)

    def baseline(
        self, reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int
    ) -> Mapping[str, Tensor]:
        """Score mixtures as estimates, at least by the measures that have a baseline."""
        return self.score_with_mixture(reference, estimate, mixture, samplerate)


class SingleMetric(Metric):
    """A metric of one measure; calling it returns the scores themselves."""

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """What the scores say."""

    @abstractmethod
    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        """Return [S] float64 for references and estimates [S, C, T]."""

    def score(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Mapping[str, Tensor]:
        return {self.measure.name: self(reference, estimate, samplerate)}

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (self.measure,)

    @property
    def name(self) -> str:
        """Name of the measure."""
        return self.measure.name

    @property
    def unit(self) -> str:
        """Unit of the scores."""
        return self.measure.unit

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        return self.measure.higher_is_better

    @property
    def citation(self) -> str:
        """Where the definition comes from."""
        return self.measure.citation


@dataclass(frozen=True)
class FrameScores:
    """What a framewise metric gives for one recording.

    Attributes:
        values: [S, frames] float64 by the measure's name; NaN where a frame can't be scored.
        remarks: sentences on how far the values can be trusted, if there is anything to say.
    """

    values: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()


class FramewiseMetric(Metric):
    """A metric of short frames; its score is the median of those in which it is defined.

    Attributes:
        window: seconds of one frame.
        hop: seconds between the starts of two frames.
    """

    window: Fraction
    hop: Fraction

    @abstractmethod
    def frames(self, reference: Tensor, estimate: Tensor, samplerate: int) -> FrameScores:
        """Score every frame of audio [S, C, T].

        A frame that can't be scored is NaN for every source and measure.
        """

    def score(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Mapping[str, Tensor]:
        return median_of_frames(self.frames(reference, estimate, samplerate).values)


def median_of_frames(frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the median [S] over the frames of each [S, frames] that are not NaN.

    The mean of the middle two of an even number, as museval's own aggregation has it; NaN where no
    frame is left.
    """
    return {name: _median_of_defined(values) for name, values in frames.items()}


def defined_frames(frames: Mapping[str, Tensor]) -> Tensor:
    """Return [frames] bool: where every measure of every source is defined."""
    undefined = torch.stack([values.isnan().any(dim=0) for values in frames.values()])
    return ~undefined.any(dim=0)


def _median_of_defined(values: Tensor) -> Tensor:
    kept = values[:, ~values.isnan().any(dim=0)]
    if kept.shape[-1] == 0:
        return values.new_full(values.shape[:1], torch.nan)
    # not torch's median, which is the lower of the middle two
    return torch.from_numpy(np.median(kept.numpy(), axis=-1))


def stated_measures(metric: Metric) -> tuple[Measure, ...]:
    """Return a metric's measures, their definitions ending in its configuration.

    So two configurations never share a definition, whatever the metric's own text says; nor do two
    versions of a plug-in.
    """
    facts = registry.dump_config(metric.config)
    words = [f"{key}={value}" for key, value in sorted(facts.items())]
    package = type(metric).__module__.partition(".")[0]
    if package != __name__.partition(".")[0]:  # a plug-in's
        found = packages_distributions().get(package, [])
        words += [f"{name} {version(name)}" for name in found] or [package]
    if not words:
        return metric.measures
    return tuple(
        replace(measure, definition=f"{measure.definition} [{', '.join(words)}]")
        for measure in metric.measures
    )


def make_metrics(values: Mapping[str, Mapping[str, Any] | None]) -> tuple[Metric, ...]:
    """Build the metrics of ``{name: keys}`` (the yaml's `test.metrics`), in the mapping's order.

    Raises:
        ConfigError: none at all, an unknown metric, a key or value that is wrong, or two metrics
            that give a score of the same name.
    """
    if not values:
        raise ConfigError("test.metrics: names no metric; take test=fast or test=museval")
    metrics: list[Metric] = []
    owner: dict[str, str] = {}
    for name, keys in values.items():
        where = f"test.metrics.{name}"
        metric: Metric = registry.build("metric", {**(keys or {}), "name": name}, where=where)
        for measure in metric.measures:
            if measure.name in owner:
                raise ConfigError(
                    f"{where}: test.metrics.{owner[measure.name]} gives {measure.name} as well;"
                    " leave one of them out"
                )
            owner[measure.name] = name
        metrics.append(metric)
    return tuple(metrics)
