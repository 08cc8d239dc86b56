"""Demucs, versions 2 and 3: a U-net over the waveform, at twice its sample rate.

Défossez, Usunier, Bottou and Bach, "Music Source Separation in the Waveform Domain", 2019 (arXiv
1911.13254), with the changes of version 3 (Défossez 2021, arXiv 2111.03600): group norms, GELU and
residual branches that hold LSTMs and attention. The arithmetic and the state-dict names are those
of the demucs package.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from julius.resample import resample_frac
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.nn.dconv import DConv, DConvOptions
from mss.nn.init import rescale_convolutions
from mss.nn.output_groups import keep_output_groups
from mss.nn.recurrent import SpanBLSTM


@dataclass(frozen=True)
class DemucsConfig(SeparatorConfig):
    """The defaults are those of demucs 4.1.0's class `Demucs` (version 3).

    Attributes:
        segment: seconds of one chunk at inference.
        channels: of the first layer.
        growth: factor on the channels from one level to the next.
        depth: levels of the encoder and of the decoder.
        rewrite: a convolution with GLU in every layer.
        lstm_layers: of a BLSTM between encoder and decoder; 0: none.
        kernel_size, stride: of the strided convolutions.
        context: neighbours on each side that the decoder's rewriting convolutions see.
        gelu: GELU after the strided convolutions; otherwise ReLU.
        glu: GLU after the rewriting convolutions; otherwise ReLU.
        norm_starts: first level with group norms.
        norm_groups: their groups.
        dconv_mode: residual branches in no layer (0), encoder (1), decoder (2) or both (3).
        dconv_depth: residual blocks a branch; negative: without dilation.
        dconv_comp: a branch works on 1 / dconv_comp of the channels.
        dconv_attn: first level with local attention in its branches.
        dconv_lstm: first level with a BLSTM in its branches.
        dconv_init: initial LayerScale of the branches.
        normalize: bring the mono mix of each input to mean 0 and deviation 1, and undo it at last.
        resample: work at twice the sample rate.
        rescale: reference standard deviation of the initial convolution weights; 0: leave them.
    """

    segment: Seconds = Fraction(40)
    channels: int = 64
    growth: float = 2.0
    depth: int = 6
    rewrite: bool = True
    lstm_layers: int = 0
    kernel_size: int = 8
    stride: int = 4
    context: int = 1
    gelu: bool = True
    glu: bool = True
    norm_starts: int = 4
    norm_groups: int = 4
    dconv_mode: Literal[0, 1, 2, 3] = 1
    dconv_depth: int = 2
    dconv_comp: float = 4.0
    dconv_attn: int = 4
    dconv_lstm: int = 4
    dconv_init: float = 1e-4
    normalize: bool = True
    resample: bool = True
    rescale: float = 0.1


# Keeps normalisation finite on silence.
_STD_FLOOR = 1e-5
_HEADS = 4


class Demucs(Separator):
    """Demucs in the time domain.

    An input is lengthened by zeros on both sides until every strided convolution fits; the
    reference's `apply_model` fills that margin with what lies around a chunk instead.

    Args:
        config: see DemucsConfig.
        spec: what to separate.

    Raises:
        ConfigError: options whose shapes do not fit together.
    """

    Config = DemucsConfig
    config: DemucsConfig

    def __init__(self, config: DemucsConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        outer, inner = spec.channels, config.channels
        for index in range(config.depth):
            given = outer if index else spec.channels * len(spec.sources)
            level = _Level(config, index, inner)
            _check_norms(config, index, (inner, given))
            self.encoder.append(level.encoder(outer))
            self.decoder.insert(0, level.decoder(given))
            outer, inner = inner, int(config.growth * inner)
        self.lstm = None
        if config.lstm_layers:
            self.lstm = SpanBLSTM(outer, config.lstm_layers, span=None, residual=False)
        if config.rescale:
            rescale_convolutions(self, config.rescale)

    @property
    def inference(self) -> InferenceDefaults:
        return InferenceDefaults(
            segment=self.segment, overlap=0.25, window="triangle", normalise="file_mono_std"
        )

    def padded_length(self, samples: int) -> int:
        """Return the shortest length >= `samples` that the strided convolutions fit exactly."""
        kernel, stride, depth = self.config.kernel_size, self.config.stride, self.config.depth
        rate = 2 if self.config.resample else 1
        steps = samples * rate
        for _ in range(depth):
            steps = max(1, -(-(steps - kernel) // stride) + 1)
        for _ in range(depth):
            steps = (steps - 1) * stride + kernel
        return -(-steps // rate)

    def analyse(self, mix: Tensor) -> Features:
        """Normalise, pad and upsample a mixture [B, C, T] to [B, C, T']."""
        length = mix.shape[-1]
        wave = mix if mix.dtype == torch.float64 else mix.float()
        context: dict[str, object] = {"length": length}
        if self.config.normalize:
            mono = wave.mean(dim=1, keepdim=True)
            # one sample has no unbiased deviation
            std, mean = torch.std_mean(mono, dim=-1, correction=int(length > 1), keepdim=True)
            wave = (wave - mean) / (_STD_FLOOR + std)
            context |= {"scale": std, "shift": mean}
        missing = self.padded_length(length) - length
        wave = F.pad(wave, (missing // 2, missing - missing // 2))
        if self.config.resample:
            wave = _resample(wave, 1, 2)
        return Features((wave,), context)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map [B, C, T'] to [B, S * C, T'], T' as `analyse` gives it."""
        x = inputs[0]
        skips: list[Tensor] = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        if self.lstm is not None:
            x = self.lstm(x)
        for decode in self.decoder:
            x = decode(x + skips.pop())
        return (x,)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Undo what `analyse` did."""
        context, length = features.context, features.context["length"]
        out = outputs[0].to(features.inputs[0].dtype)
        if self.config.resample:
            out = _resample(out, 2, 1)
        start = (out.shape[-1] - length) // 2
        out = out[..., start : start + length]
        if self.config.normalize:
            out = torch.addcmul(context["shift"], out, context["scale"])
        return Estimate(rearrange(out, "b (s c) t -> b s c t", c=self.spec.channels))

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        outermost = self.decoder[-1]
        assert isinstance(outermost, nn.Sequential)
        keep_output_groups(outermost[-1], rows, len(self.spec.sources))
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> Demucs:
        config = DemucsConfig(
            segment=Fraction(1),
            channels=8,
            depth=3,
            norm_starts=1,
            norm_groups=2,
            lstm_layers=1,
            dconv_mode=3,
            dconv_comp=2,
            dconv_attn=2,
            dconv_lstm=2,
        )
        return cls(config, spec)


def _resample(wave: Tensor, old: int, new: int) -> Tensor:
    """Resample [B, C, T] by sinc interpolation in full precision."""
    with torch.autocast(wave.device.type, enabled=False):
        out: Tensor = resample_frac(wave, old, new, full=True)
    return out


class _Level:
    """Builds one level's layers; positions within them are those of the published checkpoints."""

    def __init__(self, config: DemucsConfig, index: int, channels: int) -> None:
        self.config = config
        self.index = index
        self.channels = channels
        self.dconv = DConvOptions(
            depth=config.dconv_depth,
            compress=config.dconv_comp,
            init=config.dconv_init,
            lstm=index >= config.dconv_lstm,
            attention=index >= config.dconv_attn,
            heads=_HEADS,
        )
        _check_branch(config, index, channels, self.dconv)

    def encoder(self, chin: int) -> nn.Sequential:
        """Strided convolution, residual branch, rewriting convolution: [B, chin, T] and down."""
        config = self.config
        strided = nn.Conv1d(chin, self.channels, config.kernel_size, config.stride)
        layers: list[nn.Module] = [strided, self._norm(self.channels), self._activation()]
        if config.dconv_mode & 1:
            layers.append(DConv(self.channels, self.dconv))
        if config.rewrite:
            layers += self._rewrite(context=0)
        return nn.Sequential(*layers)

    def decoder(self, chout: int) -> nn.Sequential:
        """The mirror of `encoder`: up to [B, chout, T]; the outermost one ends linearly."""
        config = self.config
        layers = self._rewrite(config.context) if config.rewrite else []
        if config.dconv_mode & 2:
            layers.append(DConv(self.channels, self.dconv))
        layers.append(nn.ConvTranspose1d(self.channels, chout, config.kernel_size, config.stride))
        if self.index > 0:
            layers += [self._norm(chout), self._activation()]
        return nn.Sequential(*layers)

    def _rewrite(self, context: int) -> list[nn.Module]:
        chout = self.channels * (2 if self.config.glu else 1)
        return [
            nn.Conv1d(self.channels, chout, 1 + 2 * context, padding=context),
            self._norm(chout),
            nn.GLU(dim=1) if self.config.glu else nn.ReLU(),
        ]

    def _norm(self, channels: int) -> nn.Module:
        if self.index < self.config.norm_starts:
            return nn.Identity()
        return nn.GroupNorm(self.config.norm_groups, channels)

    def _activation(self) -> nn.Module:
        return nn.GELU() if self.config.gelu else nn.ReLU()


def _check(config: DemucsConfig) -> None:
    for key in ("channels", "depth", "kernel_size", "stride", "norm_groups"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    for key in ("lstm_layers", "context"):
        if getattr(config, key) < 0:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is negative")
    if config.dconv_comp <= 0:
        raise ConfigError(f"model.dconv_comp: {config.dconv_comp} is not positive")
    if config.kernel_size < config.stride:
        raise ConfigError(
            f"model.kernel_size: {config.kernel_size} is less than model.stride ="
            f" {config.stride}, so samples between the kernels would be lost"
        )


def _check_norms(config: DemucsConfig, index: int, channels: tuple[int, int]) -> None:
    """Check the norms after a level's convolutions down and up; the outermost goes up without."""
    inner, given = channels
    normed = (inner, given) if index else (inner,)
    if index >= config.norm_starts and any(width % config.norm_groups for width in normed):
        raise ConfigError(
            f"model.norm_groups: {config.norm_groups} groups do not divide the {given} and"
            f" {inner} channels of level {index}; change model.channels, growth or norm_starts"
        )


def _check_branch(config: DemucsConfig, index: int, channels: int, dconv: DConvOptions) -> None:
    if not config.dconv_mode:
        return
    hidden = dconv.hidden(channels)
    # a norm of a single channel would fail on an input of a single step
    if hidden < 2 or (dconv.attention and hidden % dconv.heads):
        raise ConfigError(
            f"model.dconv_comp: {dconv.compress:g} leaves {hidden} of the {channels} channels of"
            f" level {index}: there must be at least 2 and, with attention, a multiple of"
            f" {dconv.heads}"
        )
