"""Hybrid Demucs: one U-net over the spectrogram, one over the waveform, joined in the middle.

Défossez, "Hybrid spectrogram and waveform source separation", 2021 (arXiv 2111.03600). The
arithmetic and the state-dict names are those of the published checkpoints: their weights load.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.core.wiener import wiener
from mss.models.hdemucs_levels import Level, plan_levels
from mss.nn.band_layers import BandDecoderLayer, BandEncoderLayer
from mss.nn.embedding import ScaledEmbedding
from mss.nn.hybrid_layers import DecoderLayer, EncoderLayer
from mss.nn.init import rescale_convolutions
from mss.nn.spectral import AlignedStft, CentredStft


@dataclass(frozen=True)
class HDemucsConfig(SeparatorConfig):
    """Every option that a released checkpoint uses; the defaults are the published ones.

    Attributes:
        segment: seconds of one chunk at inference.
        channels: of the first layer.
        channels_time: of the time branch's first layer; None: `channels`.
        growth: factor on the channels from one level to the next.
        nfft: STFT window, samples; the hop is a quarter of it.
        cac: "complex as channels": real and imaginary parts are channels in and out. Otherwise the
            network maps magnitudes to magnitudes and the mixture's phase comes back by Wiener
            filtering.
        wiener_iters: iterations of that filter in evaluation; -1: just the mixture's phase.
        end_iters: the same in training; equal to `wiener_iters` where `hybrid`.
        wiener_residual: let what the sources leave of the mixture take part in the filter.
        depth: levels of the encoder and of the decoder.
        rewrite: a convolution with GLU in every layer.
        hybrid: with the time branch; otherwise the spectrogram alone.
        hybrid_old: the misaligned STFT that some early models were trained with.
        multi_freqs: split the bins of the outer levels at these ratios, separate weights a band.
        multi_freqs_depth: how many outer levels that means.
        freq_emb: weight of the frequency embedding added after the first layer; 0: none.
        emb_scale: factor on the embedding's learning rate.
        emb_smooth: start from an embedding that is smooth over frequency.
        kernel_size, stride: of the convolutions over frequency and, in the time branch, time.
        time_stride: stride of the levels after the merge; their kernel is twice that.
        context: neighbours on each side that the decoder's rewriting convolutions see.
        context_enc: the same in the encoder.
        norm_starts: first level with group norms.
        norm_groups: their groups.
        dconv_mode: residual branches in no layer (0), encoder (1), decoder (2) or both (3).
        dconv_depth: residual blocks a branch; negative: without dilation.
        dconv_comp: a branch works on 1 / dconv_comp of the channels.
        dconv_attn: first level with local attention in its branches.
        dconv_lstm: first level with a BLSTM in its branches.
        dconv_init: initial LayerScale of the branches.
        rescale: reference standard deviation of the initial convolution weights; 0: leave them.
    """

    segment: Seconds = Fraction(40)
    channels: int = 48
    channels_time: int | None = None
    growth: float = 2.0
    nfft: int = 4096
    cac: bool = True
    wiener_iters: int = 0
    end_iters: int = 0
    wiener_residual: bool = False
    depth: int = 6
    rewrite: bool = True
    hybrid: bool = True
    hybrid_old: bool = False
    multi_freqs: tuple[float, ...] = ()
    multi_freqs_depth: int = 2
    freq_emb: float = 0.2
    emb_scale: float = 10.0
    emb_smooth: bool = True
    kernel_size: int = 8
    stride: int = 4
    time_stride: int = 2
    context: int = 1
    context_enc: int = 0
    norm_starts: int = 4
    norm_groups: int = 4
    dconv_mode: Literal[0, 1, 2, 3] = 1
    dconv_depth: int = 2
    dconv_comp: float = 4.0
    dconv_attn: int = 4
    dconv_lstm: int = 4
    dconv_init: float = 1e-4
    rescale: float = 0.1


# Keeps normalisation finite on silence.
_STD_FLOOR = 1e-5


def _std_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return unbiased standard deviation and mean of each item of [B, ...], with kept axes."""
    axes = tuple(range(1, x.dim()))
    several = x[0].numel() > 1  # one sample has no unbiased deviation
    std, mean = torch.std_mean(x, dim=axes, correction=int(several), keepdim=True)
    return std, mean


class HDemucs(Separator):
    """Hybrid Demucs.

    Args:
        config: see HDemucsConfig.
        spec: what to separate.

    Raises:
        ConfigError: options whose shapes do not fit together.
    """

    Config = HDemucsConfig
    config: HDemucsConfig

    def __init__(self, config: HDemucsConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        self.stft: AlignedStft | CentredStft
        if config.hybrid:
            self.stft = AlignedStft(config.nfft, legacy_offset=config.hybrid_old)
        else:
            self.stft = CentredStft(config.nfft)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.tencoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        levels = plan_levels(config, spec)
        for level in levels:
            self._add_level(level)
        # frequency or time layer of each level, the deepest last
        self._over_frequency = [level.options.frequency for level in levels]
        self.freq_emb = None
        if config.freq_emb:
            self.freq_emb = ScaledEmbedding(
                levels[0].bins_out, levels[0].chout, config.emb_scale, config.emb_smooth
            )
        if config.rescale:
            rescale_convolutions(self, config.rescale)

    def _add_level(self, level: Level) -> None:
        """Append a level's encoder layers; its decoder layers come before all earlier ones."""
        encode, decode, last = level.options_encoder, level.options_decoder, level.index == 0
        ratios = self.config.multi_freqs
        if level.banded:
            self.encoder.append(BandEncoderLayer(level.chin, level.chout, encode, ratios))
            self.decoder.insert(
                0, BandDecoderLayer(level.chout, level.chin_decoder, decode, ratios, last)
            )
        else:
            self.encoder.append(EncoderLayer(level.chin, level.chout, encode))
            self.decoder.insert(0, DecoderLayer(level.chout, level.chin_decoder, decode, last))
        if level.time is not None:
            time = level.time
            self.tencoder.append(EncoderLayer(time.chin, time.chout, time.options_encoder))
            self.tdecoder.insert(
                0, DecoderLayer(time.chout, time.chin_decoder, time.options_decoder, last)
            )

    @property
    def inference(self) -> InferenceDefaults:
        return InferenceDefaults(
            segment=self.segment, overlap=0.25, window="triangle", normalise="file_mono_std"
        )

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its normalised spectrogram [B, C', F, N] and wave."""
        spec = self.stft(mix)
        if self.config.cac:
            real = rearrange(torch.view_as_real(spec), "b c f n reim -> b (c reim) f n")
        else:
            real = spec.abs()
        std, mean = _std_mean(real)
        inputs: tuple[Tensor, ...] = ((real - mean) / (_STD_FLOOR + std),)
        context = {"spec": spec, "length": mix.shape[-1], "scale": std, "shift": mean}
        if self.config.hybrid:
            wave = mix.to(real.dtype)
            wave_std, wave_mean = _std_mean(wave)
            inputs += ((wave - wave_mean) / (_STD_FLOOR + wave_std),)
            context |= {"wave_scale": wave_std, "wave_shift": wave_mean}
        return Features(inputs, context)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run both U-nets.

        Args:
            inputs: spectrogram [B, C', F, N] (C' = 2C with `cac`) and, where `hybrid`, the wave
                [B, C, T].

        Returns:
            [B, S * C', F, N] and, where `hybrid`, [B, S * C, T], both still normalised.
        """
        x, wave = inputs[0], inputs[1] if self.config.hybrid else None
        skips: list[Tensor] = []
        lengths: list[int] = []
        wave_skips: list[Tensor | None] = []
        wave_lengths: list[int] = []
        for index, (encode, over_frequency) in enumerate(
            zip(self.encoder, self._over_frequency, strict=True)
        ):
            inject = None
            if wave is not None and index < len(self.tencoder):
                wave_lengths.append(wave.shape[2])
                wave = self.tencoder[index](wave)
                if index == len(self.tencoder) - 1:
                    # both branches now have the same steps: the time branch ends in the other
                    inject, wave = wave, None
                wave_skips.append(wave)
            if x.dim() == 4 and not over_frequency:
                x = x.flatten(1, 2)  # a single bin is left
            lengths.append(x.shape[2])
            x = encode(x, inject)
            if index == 0 and self.freq_emb is not None:
                x = x + (self.config.freq_emb * self.freq_emb()).t()[:, :, None]
            skips.append(x)

        merged = len(self.decoder) - len(self.tdecoder)
        out: Tensor | None = None  # nothing comes from below the deepest level but its skip
        for index, (decode, over_frequency) in enumerate(
            zip(self.decoder, reversed(self._over_frequency), strict=True)
        ):
            if out is None:
                out, skip = skips.pop(), None
            else:
                skip = skips.pop()
            if out.dim() == 3 and over_frequency:
                out = out[:, :, None]
            out, refined = decode(out, skip, lengths.pop())
            if index >= merged and self.config.hybrid:
                start = refined[:, :, 0] if index == merged else wave
                wave, _ = self.tdecoder[index - merged](start, wave_skips.pop(), wave_lengths.pop())
        assert out is not None
        return (out,) if wave is None else (out, wave)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Undo the normalisation, invert the spectrogram and add the time branch."""
        context, length = features.context, features.context["length"]
        scale, shift = context["scale"], context["shift"]
        out = torch.addcmul(shift, outputs[0].to(scale.dtype), scale)
        out = rearrange(out, "b (s c) f n -> b s c f n", s=len(self.spec.sources))
        spec = self._complex_spectra(out, context["spec"])
        wave = self.stft.inverse(spec, length)
        if not self.config.hybrid:
            return Estimate(wave, F.pad(spec, (0, 0, 0, 1)), self.stft.stft)  # silent at Nyquist
        scale, shift = context["wave_scale"], context["wave_shift"]
        time = torch.addcmul(shift, outputs[1].to(scale.dtype), scale)
        return Estimate(wave + rearrange(time, "b (s c) t -> b s c t", c=self.spec.channels))

    def _complex_spectra(self, out: Tensor, mix: Tensor) -> Tensor:
        """Turn the network's spectra [B, S, C', F, N] into complex ones [B, S, C, F, N]."""
        if self.config.cac:
            real, imag = rearrange(out, "b s (c reim) f n -> reim b s c f n", reim=2).unbind(0)
            return torch.complex(real, imag)
        iterations = self.config.end_iters if self.training else self.config.wiener_iters
        if iterations < 0:
            return out * (mix / (1e-8 + mix.abs()))[:, None]
        spec = wiener(out, mix, iterations, residual=self.config.wiener_residual)
        return spec[:, : out.shape[1]]

    @classmethod
    def tiny(cls, spec: AudioSpec) -> HDemucs:
        config = HDemucsConfig(
            segment=Fraction(1),
            channels=4,
            nfft=256,
            depth=4,
            norm_starts=2,
            norm_groups=2,
            dconv_comp=2,
            dconv_lstm=2,
            dconv_attn=2,
        )
        return cls(config, spec)
