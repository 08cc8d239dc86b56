"""SCNet: a spectrogram is compressed band by band, separated by dual-path BLSTMs, expanded again.

Tong et al., "SCNet: sparse compression network for music source separation", 2024 (arXiv
2401.13276). The arithmetic and the state-dict names are those of the published checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.nn.dual_path import DualPathBLSTM, frames_from_spectrum, spectrum_over_frames
from mss.nn.output_groups import keep_output_groups
from mss.nn.sparse_subbands import (
    Band,
    SparseDecoderBlock,
    SparseEncoderBlock,
    SparseUp,
    split_bands,
)


@dataclass(frozen=True)
class SCNetConfig(SeparatorConfig):
    """The defaults are the published ones (SCNet; presets: SCNet-large and two larger ones).

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        channels: after each encoder block, the outermost first.
        nfft, hop: STFT frame and hop, samples. The frames have no window, as published.
        normalized: scale the STFT by nfft^-1/2.
        band_ratios: each band's share of the bins, the lowest first; together 1.
        band_strides: each band's compression.
        band_kernels: bins that the compressing convolutions see; multiples of the strides.
        conv_depths: each band's residual branches over time.
        compress: such a branch works on 1 / compress of the channels.
        conv_kernel: frames that its convolutions see.
        dual_path_layers: BLSTM blocks, every second one on the spectrum of the frames; even.
        expand: factor from their channels to their LSTM's hidden units.
    """

    segment: Seconds = Fraction(11)
    channels: tuple[int, ...] = (32, 64, 128)
    nfft: int = 4096
    hop: int = 1024
    normalized: bool = True
    band_ratios: tuple[float, ...] = (0.175, 0.392, 0.433)
    band_strides: tuple[int, ...] = (1, 4, 16)
    band_kernels: tuple[int, ...] = (3, 4, 16)
    conv_depths: tuple[int, ...] = (3, 2, 1)
    compress: float = 4.0
    conv_kernel: int = 3
    dual_path_layers: int = 6
    expand: int = 1


class SeparationNet(nn.Module):
    """Dual-path blocks, by turns on the frames and on their spectrum with twice the channels."""

    def __init__(self, channels: int, layers: int, expand: int) -> None:
        super().__init__()
        widths = [channels, 2 * channels] * (layers // 2)
        self.dp_modules = nn.ModuleList(DualPathBLSTM(width, width * expand) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, F, N] to [B, C, F, N]."""
        frames = x.shape[-1]
        for index, block in enumerate(self.dp_modules):
            x = block(x)
            x = frames_from_spectrum(x, frames) if index % 2 else spectrum_over_frames(x)
        return x


class SCNet(Separator):
    """Sparse compression network.

    Args:
        config: see SCNetConfig.
        spec: what to separate.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = SCNetConfig
    config: SCNetConfig

    def __init__(self, config: SCNetConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config)
        self.stft = Stft(config.nfft, config.hop, config.normalized, window="none")
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        chin, bins = 2 * spec.channels, self.stft.bins  # real and imaginary parts are channels
        chin_decoder = chin * len(spec.sources)
        for index, chout in enumerate(config.channels):
            bands = _bands(config, index, bins)
            self.encoder.append(
                SparseEncoderBlock(
                    chin, chout, bands, config.conv_depths, config.compress, config.conv_kernel
                )
            )
            self.decoder.insert(0, SparseDecoderBlock(chout, chin_decoder, bands))
            chin = chin_decoder = chout
            bins = sum(band.bins_out for band in bands)
        self.separation_net = SeparationNet(chin, config.dual_path_layers, config.expand)

    @property
    def inference(self) -> InferenceDefaults:
        return InferenceDefaults(
            segment=self.segment, overlap=0.5, window="triangle", normalise="file_mono_std"
        )

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its spectrogram [B, 2C, F, N], N even."""
        length = mix.shape[-1]
        spec = self.stft(F.pad(mix, (0, self._padded(length) - length)))
        real = rearrange(torch.view_as_real(spec), "b c f n reim -> b (c reim) f n")
        return Features((real,), {"length": length})

    def _padded(self, length: int) -> int:
        """Samples after the published padding: an odd number of hops, more than `length`."""
        hops = length // self.config.hop + 1
        return (hops + 1 - hops % 2) * self.config.hop

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the spectrogram [B, 2C, F, N] to those of the sources, [B, S * 2C, F, N]."""
        (x,) = inputs
        skips: list[Tensor] = []
        for encode in self.encoder:
            x, skip = encode(x)
            skips.append(skip)
        x = self.separation_net(x)
        for decode in self.decoder:
            x = decode(x, skips.pop())
        return (x,)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Invert the spectrograms."""
        length = features.context["length"]
        parts = rearrange(
            outputs[0].to(features.inputs[0].dtype),
            "b (s c reim) f n -> b s c f n reim",
            c=self.spec.channels,
            reim=2,
        )
        spec = torch.view_as_complex(parts.contiguous())
        wave = self.stft.inverse(spec, length)
        # The last frame or two of the padded input lie beyond the input's own.
        return Estimate(wave, spec[..., : self.stft.frames(length)], self.stft)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        outermost = self.decoder[-1]
        assert isinstance(outermost, SparseDecoderBlock)
        expand = outermost[1]
        assert isinstance(expand, SparseUp)
        for convtr in expand.convtrs:
            keep_output_groups(convtr, rows, len(self.spec.sources))
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> SCNet:
        config = SCNetConfig(
            segment=Fraction(1), channels=(4, 8, 8), nfft=512, hop=128, dual_path_layers=2
        )
        return cls(config, spec)


def _bands(config: SCNetConfig, index: int, bins: int) -> tuple[Band, ...]:
    """Return the bands of encoder block `index`, which gets `bins` bins."""
    bands = split_bands(bins, config.band_ratios, config.band_kernels, config.band_strides)
    for number, band in enumerate(bands):
        if band.bins < 1 or band.bins_out < 1:
            raise ConfigError(
                f"model.band_ratios: band {number} has {band.bins} of the {bins} bins that reach"
                f" block {index}, too few for a kernel of {band.kernel}; take fewer model.channels"
                " or a larger model.nfft"
            )
    return bands


def _check(config: SCNetConfig) -> None:
    for key in ("nfft", "hop", "compress", "conv_kernel", "dual_path_layers", "expand"):
        if getattr(config, key) <= 0:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    for key in ("channels", "band_strides", "band_kernels", "conv_depths"):
        smallest = 0 if key == "conv_depths" else 1
        if not getattr(config, key) or min(getattr(config, key)) < smallest:
            raise ConfigError(
                f"model.{key}: {list(getattr(config, key))}; give at least one number, each"
                f" {smallest} or more"
            )
    if config.nfft % 2 or config.hop > config.nfft // 2:
        raise ConfigError(
            f"model.hop: {config.hop} samples; at most half of an even model.nfft = {config.nfft},"
            " so that the last frame reaches the end"
        )
    ratios = config.band_ratios
    if min(ratios, default=0) <= 0 or not math.isclose(sum(ratios), 1, abs_tol=1e-3):
        raise ConfigError(f"model.band_ratios: {list(ratios)} must be positive and sum up to 1")
    for key in ("band_strides", "band_kernels", "conv_depths"):
        if len(getattr(config, key)) != len(ratios):
            raise ConfigError(
                f"model.{key}: {len(getattr(config, key))} numbers for the {len(ratios)} bands of"
                " model.band_ratios"
            )
    for kernel, stride in zip(config.band_kernels, config.band_strides, strict=True):
        if kernel % stride:
            raise ConfigError(
                f"model.band_kernels: {kernel} is not a multiple of its stride {stride}, so the"
                " decoder could not restore every bin"
            )
    if config.conv_kernel % 2 == 0:
        raise ConfigError(f"model.conv_kernel: {config.conv_kernel} must be odd")
    if min(config.channels) < config.compress:
        raise ConfigError(
            f"model.compress: {config.compress} leaves a block of {min(config.channels)} channels"
            " none to work on"
        )
    if config.dual_path_layers % 2:
        raise ConfigError(
            f"model.dual_path_layers: {config.dual_path_layers} must be even: the blocks work on"
            " frames and on their spectrum by turns, and end on frames"
        )
