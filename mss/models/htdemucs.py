"""Hybrid Transformer Demucs: Hybrid Demucs with a transformer across its two branches.

Rouard, Massa and Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023 (arXiv
2211.08553). The arithmetic and the state-dict names are those of the published checkpoints: their
weights load.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Literal

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds, Tail
from mss.models.hdemucs import HDemucsConfig
from mss.models.hdemucs_branches import HybridBranches
from mss.models.hdemucs_levels import plan_levels
from mss.nn.cross_transformer import CrossTransformer, CrossTransformerOptions


@dataclass(frozen=True)
class HTDemucsConfig(SeparatorConfig):
    """Every option that a released checkpoint uses; the defaults are those of `htdemucs`.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        use_train_segment: in evaluation, lengthen a shorter input to `segment` by zeros, so that
            the transformer always sees the lengths that it was trained on. (Longer inputs run at
            their own length, where the reference refuses them.)
        channels: of the first layer, in both branches.
        growth: factor on the channels from one level to the next.
        nfft: STFT window, samples; the hop is a quarter of it.
        depth: levels of the encoder and of the decoder; at least two bins must be left below.
        rewrite: a convolution with GLU in every layer.
        freq_emb: weight of the frequency embedding added after the first layer; 0: none.
        emb_scale: factor on the embedding's learning rate.
        emb_smooth: start from an embedding that is smooth over frequency.
        kernel_size, stride: of the convolutions over frequency and, in the time branch, time.
        context: neighbours on each side that the decoder's rewriting convolutions see.
        context_enc: the same in the encoder.
        norm_starts: first level with group norms.
        norm_groups: their groups.
        dconv_mode: residual branches in no layer (0), encoder (1), decoder (2) or both (3).
        dconv_depth: residual blocks a branch; negative: without dilation.
        dconv_comp: a branch works on 1 / dconv_comp of the channels.
        dconv_init: initial LayerScale of the branches.
        bottom_channels: width of the transformer, through a linear layer before and after; 0: as
            wide as the deepest level, without these.
        t_layers: layers of the transformer in each branch, every second one with cross-attention.
        t_heads: its attention heads.
        t_hidden_scale: its feed-forward layers are that many times wider than its tokens.
        t_dropout: its dropout.
        t_norm_in: layer norm before its positions are added.
        t_norm_out: end each layer with a norm over all tokens of an item.
        t_layer_scale: a learnt factor for each channel of its residual branches.
        t_max_period: of the sinusoids that tell positions.
        t_weight_pos_embed: factor on them.
        t_sin_random_shift: in training, let the wave's positions start up to that many steps late.
        t_cross_first: begin with cross-attention.
        rescale: reference standard deviation of the initial convolution weights of the U-nets; 0:
            leave them.
    """

    segment: Seconds = Fraction(39, 5)
    use_train_segment: bool = True
    channels: int = 48
    growth: float = 2.0
    nfft: int = 4096
    depth: int = 4
    rewrite: bool = True
    freq_emb: float = 0.2
    emb_scale: float = 10.0
    emb_smooth: bool = True
    kernel_size: int = 8
    stride: int = 4
    context: int = 1
    context_enc: int = 0
    norm_starts: int = 4
    norm_groups: int = 4
    dconv_mode: Literal[0, 1, 2, 3] = 3
    dconv_depth: int = 2
    dconv_comp: float = 8.0
    dconv_init: float = 1e-3
    bottom_channels: int = 512
    t_layers: int = 5
    t_heads: int = 8
    t_hidden_scale: float = 4.0
    t_dropout: float = 0.02
    t_norm_in: bool = True
    t_norm_out: bool = True
    t_layer_scale: bool = True
    t_max_period: float = 10000.0
    t_weight_pos_embed: float = 1.0
    t_sin_random_shift: int = 0
    t_cross_first: bool = False
    rescale: float = 0.1


class TokenLinear(nn.Conv1d):
    """A linear layer over tokens [B, L, D] whose weight is stored as a 1x1 convolution's."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__(dim_in, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, dim_in] to [B, L, dim_out]."""
        return F.linear(x, self.weight[..., 0], self.bias)


class HTDemucs(HybridBranches):
    """Hybrid Transformer Demucs.

    Args:
        config: see HTDemucsConfig.
        spec: what to separate.

    Raises:
        ConfigError: options whose shapes do not fit together.
    """

    Config = HTDemucsConfig
    rounded_modules = ("crosstransformer",)
    config: HTDemucsConfig

    def __init__(self, config: HTDemucsConfig, spec: AudioSpec) -> None:
        branches = _branches(config)
        levels = plan_levels(branches, spec, merge=False)
        super().__init__(config, spec, branches, levels)
        channels = levels[-1].chout
        width = config.bottom_channels or channels
        _check_transformer(config, width)
        if config.bottom_channels:
            self.channel_upsampler = TokenLinear(channels, width)
            self.channel_downsampler = TokenLinear(width, channels)
            self.channel_upsampler_t = TokenLinear(channels, width)
            self.channel_downsampler_t = TokenLinear(width, channels)
        self.crosstransformer = CrossTransformer(_transformer_options(config, width))

    @property
    def inference(self) -> InferenceDefaults:
        # what the transformer must not see short is lengthened as the reference does it
        tail: Tail = "centred" if self.config.use_train_segment else "short"
        return replace(super().inference, tail=tail)

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its normalised spectrogram [B, 2C, F, N] and wave."""
        length = mix.shape[-1]
        missing = self.spec.frames(self.config.segment) - length
        if self.config.use_train_segment and not self.training and missing > 0:
            mix = F.pad(mix, (0, missing))
        features = super().analyse(mix)
        features.context["samples"] = length
        return features

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run both U-nets with the transformer between them.

        Args:
            inputs: spectrogram [B, 2C, F, N] and wave [B, C, T].

        Returns:
            [B, S * 2C, F, N] and [B, S * C, T], both still normalised.
        """
        x, wave = inputs
        skips: list[tuple[Tensor, Tensor]] = []
        sizes: list[tuple[int, int]] = []
        for index, (encode, encode_t) in enumerate(zip(self.encoder, self.tencoder, strict=True)):
            sizes.append((x.shape[2], wave.shape[2]))
            x, wave = encode(x), encode_t(wave)
            if index == 0:
                x = self._embed_frequencies(x)
            skips.append((x, wave))
        x, wave = self._transform(x, wave)
        for decode, decode_t in zip(self.decoder, self.tdecoder, strict=True):
            (skip, skip_t), (size, size_t) = skips.pop(), sizes.pop()
            x, _ = decode(x, skip, size)
            wave, _ = decode_t(wave, skip_t, size_t)
        return x, wave

    def _transform(self, x: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Let the deepest levels [B, C, F, N] and [B, C, T] see themselves and each other."""
        bins, frames = x.shape[2:]
        x, wave = rearrange(x, "b c f n -> b (n f) c"), rearrange(wave, "b c t -> b t c")
        if self.config.bottom_channels:
            x, wave = self.channel_upsampler(x), self.channel_upsampler_t(wave)
        x, wave = self.crosstransformer(x, wave, frames)
        if self.config.bottom_channels:
            x, wave = self.channel_downsampler(x), self.channel_downsampler_t(wave)
        return (
            rearrange(x, "b (n f) c -> b c f n", f=bins),
            rearrange(wave, "b t c -> b c t"),
        )

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Undo the normalisation, invert the spectrogram, add the time branch; trim the padding."""
        wave = super().synthesise(features, outputs).wave
        return Estimate(wave[..., : features.context["samples"]])

    @classmethod
    def tiny(cls, spec: AudioSpec) -> HTDemucs:
        config = HTDemucsConfig(
            segment=Fraction(1, 20),
            channels=4,
            nfft=256,
            depth=2,
            norm_starts=1,
            norm_groups=2,
            dconv_comp=2,
            bottom_channels=16,
            t_layers=2,
            t_heads=2,
            t_hidden_scale=2,
        )
        return cls(config, spec)


def _branches(config: HTDemucsConfig) -> HDemucsConfig:
    """Return the U-nets as Hybrid Demucs would state them: no LSTM or local attention anywhere."""
    shared = {
        field.name: getattr(config, field.name)
        for field in fields(HDemucsConfig)
        if hasattr(config, field.name)
    }
    return HDemucsConfig(**shared, dconv_lstm=config.depth, dconv_attn=config.depth)


def _transformer_options(config: HTDemucsConfig, width: int) -> CrossTransformerOptions:
    return CrossTransformerOptions(
        dim=width,
        layers=config.t_layers,
        heads=config.t_heads,
        hidden_scale=config.t_hidden_scale,
        dropout=config.t_dropout,
        norm_in=config.t_norm_in,
        norm_out=config.t_norm_out,
        layer_scale=config.t_layer_scale,
        cross_first=config.t_cross_first,
        max_period=config.t_max_period,
        position_weight=config.t_weight_pos_embed,
        random_shift=config.t_sin_random_shift,
    )


def _check_transformer(config: HTDemucsConfig, width: int) -> None:
    if config.bottom_channels < 0:
        raise ConfigError(f"model.bottom_channels: {config.bottom_channels} is negative; 0 is none")
    for key in ("t_layers", "t_heads"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    if width % config.t_heads or width % 4:
        raise ConfigError(
            f"model.t_heads: the transformer's {width} channels must be a multiple of its"
            f" {config.t_heads} heads and of 4; change model.bottom_channels or model.channels"
        )
    if int(width * config.t_hidden_scale) < 1:
        raise ConfigError(
            f"model.t_hidden_scale: {config.t_hidden_scale:g} leaves no hidden channel of {width}"
        )
    if not 0 <= config.t_dropout < 1:
        raise ConfigError(f"model.t_dropout: {config.t_dropout} is not in [0, 1)")
    if config.t_max_period <= 0:
        raise ConfigError(f"model.t_max_period: {config.t_max_period} is not positive")
    if config.t_sin_random_shift < 0:
        raise ConfigError(f"model.t_sin_random_shift: {config.t_sin_random_shift} is negative")
