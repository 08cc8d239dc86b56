"""MDX23C: the TFC-TDF U-net, version 3, on complex spectra folded into sub-bands.

Kim, Lee and Jung, "Sound demixing challenge 2023 music demixing track technical report:
TFC-TDF-UNet v3", 2023 (arXiv 2306.09382), as in the Music-Source-Separation-Training toolbox, whose
checkpoints' arithmetic and state-dict names it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.nn.output_groups import keep_output_groups
from mss.nn.tfc_tdf import DecoderLevel, EncoderLevel, TfcTdf, TfcTdfOptions


@dataclass(frozen=True)
class MDX23CConfig(SeparatorConfig):
    """The defaults are those of the public vocals and four-stem models.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        nfft, hop: STFT window and hop, samples.
        bins: the lowest bins, which the network sees and gives; the others are silent.
        subbands: fold the bins into this many bands, stacked as channels.
        channels: of the outermost level.
        growth: channels that each level adds.
        scales: levels.
        scale: factors by which a level shortens frames and bins.
        blocks: TFC-TDF blocks a level.
        bottleneck_factor: a block's linear layers go through 1 / bottleneck_factor of the bins.
        norm: "instance", "batch", "group" or "none".
        norm_groups: of "group".
        act: activation, "gelu", "relu" or "elu".
        elu_alpha: of "elu".
    """

    segment: Seconds = Fraction(261_120, 44_100)  # 255 hops at 44.1 kHz: 256 frames
    nfft: int = 8192
    hop: int = 1024
    bins: int = 4096
    subbands: int = 4
    channels: int = 128
    growth: int = 128
    scales: int = 5
    scale: tuple[int, int] = (2, 2)
    blocks: int = 2
    bottleneck_factor: int = 4
    norm: Literal["instance", "batch", "group", "none"] = "instance"
    norm_groups: int = 8
    act: Literal["gelu", "relu", "elu"] = "gelu"
    elu_alpha: float = 1.0


class MDX23C(Separator):
    """TFC-TDF U-net v3.

    Args:
        config: see MDX23CConfig.
        spec: what to separate.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = MDX23CConfig
    config: MDX23CConfig

    def __init__(self, config: MDX23CConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config)
        self.stft = Stft(config.nfft, config.hop)
        options = _options(config)
        folded = 2 * spec.channels * config.subbands  # real and imaginary parts of each sub-band
        width, bins = config.channels, config.bins // config.subbands
        self.first_conv = nn.Conv2d(folded, width, 1, bias=False)
        self.encoder_blocks, self.decoder_blocks = nn.ModuleList(), nn.ModuleList()
        for _ in range(config.scales):
            wider = width + config.growth
            self.encoder_blocks.append(EncoderLevel(width, wider, bins, options))
            self.decoder_blocks.insert(0, DecoderLevel(width, wider, bins, options))
            width, bins = wider, bins // config.scale[1]
        self.bottleneck_block = TfcTdf(width, width, bins, options)
        self.final_conv = nn.Sequential(
            nn.Conv2d(config.channels + folded, config.channels, 1, bias=False),
            options.activation(),
            nn.Conv2d(config.channels, len(spec.sources) * folded, 1, bias=False),
        )

    @property
    def inference(self) -> InferenceDefaults:
        return InferenceDefaults(segment=self.segment, overlap=0.75, window="triangle")

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its spectrogram [B, 2C, N, F].

        Zeros after the mixture fill N up to what every level can divide.
        """
        length = mix.shape[-1]
        multiple = self.config.scale[0] ** self.config.scales
        missing = -self.stft.frames(length) % multiple
        if missing:
            last = self.stft.frames(length) - 1 + missing
            mix = F.pad(mix, (0, last * self.config.hop - length))
        spec = self.stft(mix)[..., : self.config.bins, :]
        real = rearrange(torch.view_as_real(spec), "b c f n reim -> b (c reim) n f")
        return Features((real,), {"length": length})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the spectrogram [B, 2C, N, F] to those of the sources, [B, S * 2C, N, F]."""
        mix = rearrange(inputs[0], "b c n (k f) -> b (c k) n f", k=self.config.subbands)
        x = self.first_conv(mix)
        # it is wanted again at the end: without gradients it is then made anew, since it is little
        # work and a tenth of the memory that the widest level needs
        first = x if torch.is_grad_enabled() else None
        skips: list[Tensor] = []
        for encode in self.encoder_blocks:
            x, skip = encode(x)
            skips.append(skip)
        x = self.bottleneck_block(x)
        for decode in self.decoder_blocks:
            x = decode(x, skips)
        first = self.first_conv(mix) if first is None else first
        x = self.final_conv(torch.cat([mix, x * first], dim=1))
        return (rearrange(x, "b (c k) n f -> b c n (k f)", k=self.config.subbands),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Invert the spectrograms."""
        length = features.context["length"]
        parts = outputs[0].to(features.inputs[0].dtype)
        parts = rearrange(parts, "b (s c reim) n f -> b s c n f reim", c=self.spec.channels, reim=2)
        spec = rearrange(torch.view_as_complex(parts.contiguous()), "b s c n f -> b s c f n")
        spec = F.pad(spec, (0, 0, 0, self.stft.bins - self.config.bins))
        wave = self.stft.inverse(spec, length)
        return Estimate(wave, spec[..., : self.stft.frames(length)], self.stft)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        keep_output_groups(self.final_conv[-1], rows, len(self.spec.sources))
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> MDX23C:
        config = MDX23CConfig(
            segment=Fraction(1),
            nfft=512,
            hop=128,
            bins=256,
            subbands=2,
            channels=8,
            growth=4,
            scales=2,
            blocks=1,
        )
        return cls(config, spec)


def _options(config: MDX23CConfig) -> TfcTdfOptions:
    """Return what the levels have in common."""

    def norm(channels: int) -> nn.Module:
        if config.norm == "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        if config.norm == "batch":
            return nn.BatchNorm2d(channels)
        if config.norm == "group":
            return nn.GroupNorm(config.norm_groups, channels)
        return nn.Identity()

    def activation() -> nn.Module:
        if config.act == "gelu":
            return nn.GELU()
        return nn.ReLU() if config.act == "relu" else nn.ELU(config.elu_alpha)

    return TfcTdfOptions(config.blocks, config.bottleneck_factor, config.scale, norm, activation)


def _check(config: MDX23CConfig) -> None:
    for key in (
        *("nfft", "hop", "bins", "subbands", "channels", "growth", "scales", "blocks"),
        *("bottleneck_factor", "norm_groups"),
    ):
        smallest = 0 if key == "growth" else 1
        if getattr(config, key) < smallest:
            raise ConfigError(f"model.{key}: {getattr(config, key)}; {smallest} or more is needed")
    if min(config.scale) < 1:
        raise ConfigError(f"model.scale: {list(config.scale)} must be positive")
    if config.nfft % 2 or config.hop > config.nfft // 2:
        raise ConfigError(
            f"model.hop: {config.hop} samples; at most half of an even model.nfft = {config.nfft},"
            " so that windows overlap"
        )
    if config.bins > config.nfft // 2 + 1:
        raise ConfigError(
            f"model.bins: {config.bins}; model.nfft = {config.nfft} has only"
            f" {config.nfft // 2 + 1} bins"
        )
    deepest = config.scale[1] ** config.scales
    if config.bins % (config.subbands * deepest):
        raise ConfigError(
            f"model.bins: {config.bins} is not a multiple of model.subbands = {config.subbands}"
            f" times {deepest}, the factor of {config.scales} levels"
        )
    narrowest = config.bins // config.subbands // deepest
    if narrowest < max(2, config.bottleneck_factor):
        raise ConfigError(
            f"model.bottleneck_factor: {config.bottleneck_factor} of the {narrowest} bins that"
            " reach the deepest level; leave at least 2 there, and one after the division"
        )
    if config.norm == "group":
        for level in range(config.scales + 1):
            width = config.channels + level * config.growth
            if width % config.norm_groups:
                raise ConfigError(
                    f"model.norm_groups: {config.norm_groups} does not divide the {width} channels"
                    f" of level {level}"
                )
