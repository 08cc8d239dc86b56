"""Hybrid Demucs: one U-net over the spectrogram, one over the waveform, joined in the middle.

Défossez, "Hybrid spectrogram and waveform source separation", 2021 (arXiv 2111.03600). The
arithmetic and the state-dict names are those of the published checkpoints: their weights load.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from torch import Tensor

from mss.core.separator import SeparatorConfig
from mss.core.types import AudioSpec, Seconds
from mss.models.hdemucs_branches import HybridBranches
from mss.models.hdemucs_levels import plan_levels


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


class HDemucs(HybridBranches):
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
        super().__init__(config, spec, config, plan_levels(config, spec))

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
            if index == 0:
                x = self._embed_frequencies(x)
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
