"""Log-WMSE: an error weighted by the ear's sensitivity, relative to the mixture's level."""

from __future__ import annotations

from dataclasses import dataclass

from mss.core.log_wmse import import_torch_log_wmse
from mss.core.types import Estimate, Target
from mss.losses.base import Errors, LossConfig, SourceLoss, check_positive


@dataclass(frozen=True)
class LogWMSELossConfig(LossConfig):
    """Keys of the log-WMSE.

    Attributes:
        weights: see LossConfig.
        samplerate: of the data, Hz: the ear's sensitivity depends on frequencies.
    """

    samplerate: int = 44100


class LogWMSELoss(SourceLoss):
    """Log of the mean squared error, frequency-weighted and relative to the mixture's energy:

        4 log(|h * (f - y)|^2 / |h * x|^2 + 1e-8),  mean over channels,

    of the package torch-log-wmse (Landschoot, after Nomono's log-wmse-audio-quality). -73.7 is
    perfect, also for a silent reference. Its gradient is large, and grows as 1 / error: clip it
    (`optim.clip_norm`) or lower the learning rate when coming from an L1.

    Raises:
        ConfigError: the package, which is an extra, can't be imported.
    """

    Config = LogWMSELossConfig

    def __init__(
        self, config: LogWMSELossConfig, sources: tuple[str, ...], where: str = "loss"
    ) -> None:
        super().__init__(config, sources, where)
        check_positive(config.samplerate, f"{where}.samplerate")
        self._measure = import_torch_log_wmse(f"{where}.name").LogWMSELoss(
            sample_rate=config.samplerate
        )

    def errors(self, estimate: Estimate, target: Target) -> Errors:
        assert target.mix is not None, "this loss needs the mixture"
        wave, reference = estimate.wave.float(), target.sources.float()
        scores = self._measure.to(wave.device).per_stem(
            target.mix.float(), wave.transpose(1, 2), reference.transpose(1, 2)
        )  # [B, C, S]
        return Errors(scores.mean(dim=1))
