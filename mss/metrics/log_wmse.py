"""Log-WMSE: an error weighted by the ear's sensitivity, relative to the mixture's level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from mss.core.log_wmse import import_torch_log_wmse
from mss.metrics.base import Measure, SingleMetric
from mss.metrics.per_source import FixedConfig

_KEY = "test.metrics.log_wmse"


class LogWMSE(SingleMetric):
    """The score of the package torch-log-wmse, mean over channels:

        -4 ln(|h * (e - s)|^2 / |h * x|^2 + 1e-8),

    x the mixture and h a filter of 4000 taps with the ear's sensitivity. 73.7 is perfect, also for
    a silent reference, and 0 an error as large as the mixture. The level does not matter. Where the
    mixture is silent, its mean square counts as 1e-16.

    Raises:
        ConfigError: the package, which is an extra, can't be imported.
    """

    Config = FixedConfig
    needs_mixture: ClassVar[bool] = True

    def __init__(self, config: FixedConfig | None = None) -> None:
        self.config = config or FixedConfig()
        import_torch_log_wmse(_KEY)  # fails before anything is separated
        self._scorers: dict[int, Any] = {}  # by samplerate: the filter is resampled to it

    @property
    def measure(self) -> Measure:
        return Measure(
            name="log_wmse",
            unit="points",
            higher_is_better=True,
            definition=(
                "-4 ln(|h * (e - s)|^2 / |h * x|^2 + 1e-8), mean over channels, of the whole song;"
                " h weighs frequencies as the ear does, x is the mixture; defined for an all-zero"
                " reference"
            ),
            citation=(
                "Landschoot, torch-log-wmse 1.1.0, after Nomono, log-wmse-audio-quality;"
                " as in Music-Source-Separation-Training, LogWMSE_metric"
            ),
        )

    def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
        raise AssertionError("log_wmse needs the mixture: call score_with_mixture")

    def score_with_mixture(
        self, reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int
    ) -> Mapping[str, Tensor]:
        """Compare references and estimates [S, C, T] of a mixture [C, T]; see Metric.score."""
        assert reference.shape == estimate.shape and reference.shape[1:] == mixture.shape, (
            f"reference {tuple(reference.shape)}, estimate {tuple(estimate.shape)},"
            f" mixture {tuple(mixture.shape)}"
        )
        scorer = self._scorer(samplerate).to(reference.device)
        # a channel of a source at a time: the package transforms a whole song
        scores = [
            torch.cat(
                [_score(scorer, *channel) for channel in zip(expected, ours, mixture, strict=True)]
            )
            for expected, ours in zip(reference, estimate, strict=True)
        ]
        return {self.name: torch.stack(scores).double().mean(dim=1)}

    def _scorer(self, samplerate: int) -> Any:
        if samplerate not in self._scorers:
            self._scorers[samplerate] = import_torch_log_wmse(_KEY).LogWMSE(sample_rate=samplerate)
        return self._scorers[samplerate]


def _score(scorer: Any, reference: Tensor, estimate: Tensor, mixture: Tensor) -> Tensor:
    """Return the score [1] of one channel [T]."""
    score: Tensor = scorer.per_stem(
        mixture[None, None], estimate[None, None, None], reference[None, None, None]
    )  # [B, C, S], one of each
    return score.flatten()
