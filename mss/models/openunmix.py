"""Open-Unmix: one recurrent network a source masks the magnitude spectrogram.

Stöter, Uhlich, Liutkus and Mitsufuji, "Open-Unmix: a reference implementation for music source
separation", JOSS 4(41), 2019. A target network's state-dict names are those of the published
checkpoints, which hold one file a target: `model.targets[i].load_state_dict(state)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, Seconds
from mss.core.wiener import wiener
from mss.nn.unmix import TargetNetwork


@dataclass(frozen=True)
class OpenUnmixConfig(SeparatorConfig):
    """The defaults are the published ones (umxhq).

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        hidden_size: features of the encoded frame and of the recurrent layers.
        nb_layers: stacked LSTM layers.
        unidirectional: causal layers of full width instead of two directions of half of it.
        dropout: between the LSTM layers.
        nfft, nhop: STFT window and hop, samples.
        bandwidth: Hz that the network looks at; its mask still reaches every bin. None: all.
        niter: Wiener iterations at evaluation; training takes the mixture's phase (0).
        softmask: start them from ratio masks instead of from the magnitudes.
        residual: let what the sources leave of the mixture take part in the filter.
        wiener_win_len: frames that are filtered together; None: all.
    """

    segment: Seconds = Fraction(6)
    hidden_size: int = 512
    nb_layers: int = 3
    unidirectional: bool = False
    dropout: float = 0.4
    nfft: int = 4096
    nhop: int = 1024
    bandwidth: float | None = 16000.0
    niter: int = 1
    softmask: bool = False
    residual: bool = False
    wiener_win_len: int | None = 300


class OpenUnmix(Separator):
    """Open-Unmix: target networks, then a multichannel Wiener filter with their magnitudes.

    The networks share nothing and are trained together or one by one.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = OpenUnmixConfig
    config: OpenUnmixConfig

    def __init__(self, config: OpenUnmixConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config, spec)
        bins = config.nfft // 2 + 1
        self.bins_in = bins
        if config.bandwidth is not None:
            self.bins_in = min(bins, int(config.bandwidth * config.nfft / spec.samplerate) + 1)
        self.stft = Stft(config.nfft, config.nhop)
        share = 1 / max(2, len(spec.sources))
        self.targets = nn.ModuleList(
            TargetNetwork(
                spec.channels,
                bins,
                self.bins_in,
                hidden=config.hidden_size,
                layers=config.nb_layers,
                unidirectional=config.unidirectional,
                dropout=config.dropout,
                initial_mask=share,
            )
            for _ in spec.sources
        )

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its magnitudes [B, C, F, N]."""
        spec = self.stft(mix)
        return Features((spec.abs(),), {"spec": spec, "length": mix.shape[-1]})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map magnitudes [B, C, F, N] to those of the sources, [B, S, C, F, N]."""
        # bins stay the fastest axis, as the STFT leaves them in memory
        magnitude = rearrange(inputs[0], "b c f n -> b c n f")
        frames = rearrange(magnitude[..., : self.bins_in], "b c n f -> b n (c f)")
        sources = [rearrange(mask, "b n c f -> b c n f") * magnitude for mask in self.masks(frames)]
        return (rearrange(torch.stack(sources, dim=1), "b s c n f -> b s c f n"),)

    def masks(self, frames: Tensor) -> list[Tensor]:
        """Map the mixture's lowest bins [B, N, C * bins_in] to a mask [B, N, C, F] a source."""
        return [target(frames) for target in self.targets]

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Give the magnitudes the mixture's phase; in evaluation, refine by Wiener filtering."""
        mix, length, config = features.context["spec"], features.context["length"], self.config
        spec = wiener(
            outputs[0].to(mix.real.dtype),
            mix,
            iterations=0 if self.training else config.niter,
            softmask=config.softmask,
            residual=config.residual,
            window=config.wiener_win_len,
        )
        spec = spec[:, : len(self.spec.sources)]
        return Estimate(self.stft.inverse(spec, length), spec, self.stft)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        if self.config.niter or self.config.softmask:
            return False  # each source is told from all the others
        self.targets = nn.ModuleList(self.targets[row] for row in rows)
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> OpenUnmix:
        single = len(spec.sources) == 1
        config = OpenUnmixConfig(
            segment=Fraction(1), hidden_size=16, nfft=512, nhop=128, residual=single
        )
        return cls(config, spec)


def _check(config: OpenUnmixConfig, spec: AudioSpec) -> None:
    for key in ("hidden_size", "nb_layers", "nfft", "nhop"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    if config.hidden_size % 2 and not config.unidirectional:
        raise ConfigError(
            f"model.hidden_size: {config.hidden_size} must be even, half for each direction"
        )
    if config.nfft % 2 or config.nhop > config.nfft // 2:
        raise ConfigError(
            f"model.nhop: {config.nhop} samples; at most half of an even model.nfft ="
            f" {config.nfft}, so that windows overlap"
        )
    if not 0 <= config.dropout < 1:
        raise ConfigError(f"model.dropout: {config.dropout} is not in [0, 1)")
    if config.bandwidth is not None and config.bandwidth <= 0:
        raise ConfigError(f"model.bandwidth: {config.bandwidth} Hz is not positive")
    if config.niter < 0:
        raise ConfigError(f"model.niter: {config.niter} is negative")
    if config.wiener_win_len is not None and config.wiener_win_len < 1:
        raise ConfigError(f"model.wiener_win_len: {config.wiener_win_len} is not positive")
    if config.niter and len(spec.sources) == 1 and not config.residual:
        raise ConfigError(
            f"model.niter: filtering needs something to tell {spec.sources[0]!r} from; set"
            " model.residual=true or model.niter=0"
        )
