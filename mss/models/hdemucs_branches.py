"""What Hybrid Demucs and Hybrid Transformer Demucs share: two U-nets and what lies around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.types import AudioSpec, Estimate, InferenceDefaults
from mss.core.wiener import wiener
from mss.nn.band_layers import BandDecoderLayer, BandEncoderLayer
from mss.nn.embedding import ScaledEmbedding
from mss.nn.hybrid_layers import DecoderLayer, EncoderLayer
from mss.nn.init import rescale_convolutions
from mss.nn.output_groups import keep_output_groups
from mss.nn.spectral import AlignedStft, CentredStft

if TYPE_CHECKING:
    from mss.models.hdemucs import HDemucsConfig
    from mss.models.hdemucs_levels import Level

# Keeps normalisation finite on silence.
_STD_FLOOR = 1e-5


def _std_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return unbiased standard deviation and mean of each item of [B, ...], with kept axes."""
    axes = tuple(range(1, x.dim()))
    several = x[0].numel() > 1  # one sample has no unbiased deviation
    std, mean = torch.std_mean(x, dim=axes, correction=int(several), keepdim=True)
    return std, mean


class HybridBranches(Separator):
    """A U-net over the spectrogram and (where `hybrid`) one over the wave; their sum is the output.

    The layers, the normalisation of both inputs and the way back are here; how a subclass's
    `network` joins the branches in the middle is its own.

    Args:
        config, spec: as of every model.
        branches: the U-nets' options.
        levels: their shapes, the outermost first.
    """

    def __init__(
        self,
        config: SeparatorConfig,
        spec: AudioSpec,
        branches: HDemucsConfig,
        levels: list[Level],
    ) -> None:
        super().__init__(config, spec)
        self.branches = branches
        self.stft: AlignedStft | CentredStft
        if branches.hybrid:
            self.stft = AlignedStft(branches.nfft, legacy_offset=branches.hybrid_old)
        else:
            self.stft = CentredStft(branches.nfft)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.tencoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        for level in levels:
            self._add_level(level)
        # frequency or time layer of each level, the deepest last
        self._over_frequency = [level.options.frequency for level in levels]
        self.freq_emb = None
        if branches.freq_emb:
            self.freq_emb = ScaledEmbedding(
                levels[0].bins_out, levels[0].chout, branches.emb_scale, branches.emb_smooth
            )
        if branches.rescale:
            rescale_convolutions(self, branches.rescale)

    def _add_level(self, level: Level) -> None:
        """Append a level's encoder layers; its decoder layers come before all earlier ones."""
        encode, decode, last = level.options_encoder, level.options_decoder, level.index == 0
        ratios = self.branches.multi_freqs
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
        if self.branches.cac:
            real = rearrange(torch.view_as_real(spec), "b c f n reim -> b (c reim) f n")
        else:
            real = spec.abs()
        std, mean = _std_mean(real)
        inputs: tuple[Tensor, ...] = ((real - mean) / (_STD_FLOOR + std),)
        context = {"spec": spec, "length": mix.shape[-1], "scale": std, "shift": mean}
        if self.branches.hybrid:
            wave = mix.to(real.dtype)
            wave_std, wave_mean = _std_mean(wave)
            inputs += ((wave - wave_mean) / (_STD_FLOOR + wave_std),)
            context |= {"wave_scale": wave_std, "wave_shift": wave_mean}
        return Features(inputs, context)

    def _embed_frequencies(self, x: Tensor) -> Tensor:
        """Tell the bins of the outermost level's features [B, C, F, N] apart."""
        if self.freq_emb is None:
            return x
        vectors: Tensor = self.freq_emb()  # [F, C]
        return x + (self.branches.freq_emb * vectors).t()[:, :, None]

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Undo the normalisation, invert the spectrogram and add the time branch."""
        context, length = features.context, features.context["length"]
        out = rearrange(outputs[0], "b (s c) f n -> b s c f n", s=len(self.spec.sources))
        if self.branches.hybrid and self.branches.cac and not torch.is_grad_enabled():
            # nobody asks for the spectra: one source's at a time is in memory
            wave = torch.cat(
                [
                    self.stft.inverse(self._spectra(one, context), length)
                    for one in torch.split(out, 1, dim=1)
                ],
                dim=1,
            )
        else:
            spec = self._spectra(out, context)
            wave = self.stft.inverse(spec, length)
        if not self.branches.hybrid:
            return Estimate(wave, F.pad(spec, (0, 0, 0, 1)), self.stft.stft)  # silent at Nyquist
        scale, shift = context["wave_scale"], context["wave_shift"]
        time = torch.addcmul(shift, outputs[1].to(scale.dtype), scale)
        return Estimate(wave + rearrange(time, "b (s c) t -> b s c t", c=self.spec.channels))

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        outermost = [branch[-1] for branch in (self.decoder, self.tdecoder) if len(branch)]
        layers: list[DecoderLayer] = []
        for layer in outermost:
            parts = layer.layers if isinstance(layer, BandDecoderLayer) else [layer]
            layers += [part for part in parts if isinstance(part, DecoderLayer)]
        filtered = not self.branches.cac and self.branches.wiener_iters > 0
        if filtered or any(layer.options.norm_groups is not None for layer in layers):
            return False  # the filter, or a norm at last, tells each source from all the others
        for layer in layers:
            keep_output_groups(layer.conv_tr, rows, len(self.spec.sources))
        return True

    def _spectra(self, out: Tensor, context: dict[str, Any]) -> Tensor:
        """Undo the normalisation of spectra [B, S, C', F, N]; return complex [B, S, C, F, N]."""
        scale, shift = context["scale"][:, None], context["shift"][:, None]
        out = torch.addcmul(shift, out.to(scale.dtype), scale)
        return self._complex_spectra(out, context["spec"])

    def _complex_spectra(self, out: Tensor, mix: Tensor) -> Tensor:
        """Turn the network's spectra [B, S, C', F, N] into complex ones [B, S, C, F, N]."""
        branches = self.branches
        if branches.cac:
            real, imag = rearrange(out, "b s (c reim) f n -> reim b s c f n", reim=2).unbind(0)
            return torch.complex(real, imag)
        iterations = branches.end_iters if self.training else branches.wiener_iters
        if iterations < 0:
            return out * (mix / (1e-8 + mix.abs()))[:, None]
        spec = wiener(out, mix, iterations, residual=branches.wiener_residual)
        return spec[:, : out.shape[1]]
