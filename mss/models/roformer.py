"""What BS-RoFormer and MelBand-RoFormer share: everything but their bands.

The spectrogram's bands become tokens; transformers look along time within a band and along the
bands within a frame, in turns; a network a source and band makes a complex mask of each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.separator import Features, Separator, SeparatorConfig
from mss.core.stft import Stft
from mss.core.types import AudioSpec, Estimate, InferenceDefaults, Seconds
from mss.nn.band_split import Band, BandMask, BandSplit
from mss.nn.rotary import rotary_table
from mss.nn.rotary_transformer import RMSNorm, RotaryTransformer


@dataclass(frozen=True)
class RoformerConfig(SeparatorConfig):
    """Options of both models.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        dim: features of a token.
        depth: how often to look along time and then along the bands.
        time_transformer_depth: layers each time along time.
        freq_transformer_depth: layers each time along the bands.
        heads: attention heads.
        dim_head: features of a head; even.
        attn_dropout: of attention weights and of what attention gives.
        ff_dropout: in feed-forward layers.
        skip_connection: give each block the sum of what all earlier ones gave, too.
        mask_estimator_depth: layers of a mask network (in MelBand-RoFormer: before its last one).
        mlp_expansion_factor: hidden features of a mask network, as a multiple of `dim`.
        stft_n_fft: STFT window, samples.
        stft_hop_length: samples between frames.
        stft_normalized: scale the STFT by stft_n_fft^-1/2.
        zero_dc: give nothing at 0 Hz.
    """

    segment: Seconds = Fraction(8)
    dim: int = 384
    depth: int = 6
    time_transformer_depth: int = 1
    freq_transformer_depth: int = 1
    heads: int = 8
    dim_head: int = 64
    attn_dropout: float = 0.0
    ff_dropout: float = 0.0
    skip_connection: bool = False
    mask_estimator_depth: int = 2
    mlp_expansion_factor: int = 4
    stft_n_fft: int = 2048
    stft_hop_length: int = 441
    stft_normalized: bool = False
    zero_dc: bool = True


# Tokens that go through a transformer together where nothing is kept for a backward pass, on a
# CPU: few enough for their activations to stay in the cache. Sequences don't see each other, so
# this changes results by rounding only, and one slice's activations exist at a time. (Dim 192, 4 s,
# one thread: slices of 1024 or 2048 tokens 1.65-1.86 s a block, 8192 1.97 s, no slices 2.3-2.5 s.)
_SLICE_TOKENS = 2048


class Roformer(Separator):
    """Base of the two models.

    Args:
        config: see RoformerConfig.
        spec: what to separate.
        bands: bins of each band, which cover all bins.
        mask_hidden_layers: layers of a mask network before its last one.
        norm_each: normalise what each transformer gives, rather than what the last one does.

    Raises:
        ConfigError: options that do not fit together.
    """

    config: RoformerConfig

    def __init__(
        self,
        config: RoformerConfig,
        spec: AudioSpec,
        bands: Sequence[Band],
        mask_hidden_layers: int,
        norm_each: bool,
    ) -> None:
        super().__init__(config, spec)
        self.stft = Stft(config.stft_n_fft, config.stft_hop_length, config.stft_normalized)
        self.bands = tuple(bands)
        per_bin = 2 * spec.channels
        self.band_split = BandSplit(config.dim, bands, per_bin)
        depths = (config.time_transformer_depth, config.freq_transformer_depth)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                RotaryTransformer(
                    config.dim,
                    depth,
                    config.heads,
                    config.dim_head,
                    config.attn_dropout,
                    config.ff_dropout,
                    norm_output=norm_each,
                )
                for depth in depths
            )
            for _ in range(config.depth)
        )
        self.final_norm: nn.Module = nn.Identity() if norm_each else RMSNorm(config.dim)
        hidden = config.dim * config.mlp_expansion_factor
        self.mask_estimators = nn.ModuleList(
            BandMask(config.dim, bands, per_bin, hidden, mask_hidden_layers) for _ in spec.sources
        )

    @property
    def inference(self) -> InferenceDefaults:
        # chunks that overlap by half, as the public configurations have it (num_overlap: 2)
        return InferenceDefaults(segment=self.segment, overlap=0.5, window="triangle")

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into its spectrogram's real numbers, [B, N, F * C * 2]."""
        spec = self.stft(mix)
        real = rearrange(torch.view_as_real(spec), "b c f n reim -> b n (f c reim)")
        return Features((real,), {"spec": spec, "length": mix.shape[-1]})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map a spectrogram [B, N, F * C * 2] to complex masks [B, S, C, F, N, 2]."""
        config = self.config
        x = self.band_split(inputs[0])
        tables = [
            rotary_table(length, config.dim_head, 2 * config.heads, x.device)
            for length in x.shape[1:3]
        ]
        earlier: Tensor | None = None
        for block in self.layers:
            assert isinstance(block, nn.ModuleList)
            over_time, over_bands = block
            if earlier is not None:
                x = x + earlier
            x = _along_time(over_time, x, tables[0])
            x = _along_bands(over_bands, x, tables[1])
            if config.skip_connection:
                earlier = x if earlier is None else earlier + x
        x = self.final_norm(x)
        masks = torch.stack([estimator(x) for estimator in self.mask_estimators], dim=1)
        channels = self.spec.channels
        return (rearrange(masks, "b s n (f c reim) -> b s c f n reim", c=channels, reim=2),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Multiply the mixture's spectrum by the masks and transform it back."""
        mix, length = features.context["spec"], features.context["length"]
        mask = torch.view_as_complex(outputs[0].to(mix.real.dtype))
        spec = mix[:, None] * mask
        if self.config.zero_dc:
            spec[..., 0, :] = 0
        return Estimate(self.stft.inverse(spec, length), spec, self.stft)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        self.mask_estimators = nn.ModuleList(self.mask_estimators[row] for row in rows)
        return True


def _sliced(x: Tensor) -> bool:
    """Tell whether to go through tokens in slices and write results over them.

    Not where the network is recorded: an exporter has no counterpart for that.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def _slices(x: Tensor, length: int) -> Iterator[Tensor]:
    """Yield views of the items of [B, many, ...], about _SLICE_TOKENS / length of `many` each."""
    for item in x:
        yield from item.split(max(1, _SLICE_TOKENS // length))


def _along_time(transformer: nn.Module, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Run a transformer over the frames of each band of [B, N, K, D]."""
    if not _sliced(x):
        rows: Tensor = transformer(rearrange(x, "b n k d -> (b k) n d"), table)
        return rearrange(rows, "(b k) n d -> b n k d", b=x.shape[0])
    for bands in _slices(x.transpose(1, 2), x.shape[1]):
        bands.copy_(transformer(bands.contiguous(), table))
    return x


def _along_bands(transformer: nn.Module, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Run a transformer over the bands of each frame of [B, N, K, D]."""
    if not _sliced(x):
        rows: Tensor = transformer(rearrange(x, "b n k d -> (b n) k d"), table)
        return rearrange(rows, "(b n) k d -> b n k d", b=x.shape[0])
    for frames in _slices(x, x.shape[2]):
        frames.copy_(transformer(frames, table))
    return x


def check_options(config: RoformerConfig) -> None:
    """Raise a ConfigError for the first option that can't be."""
    positive = (
        "dim depth time_transformer_depth freq_transformer_depth heads dim_head"
        " mask_estimator_depth mlp_expansion_factor stft_n_fft stft_hop_length"
    )
    for key in positive.split():
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    if config.dim_head % 2:
        raise ConfigError(
            f"model.dim_head: {config.dim_head} must be even, since features turn in pairs"
        )
    for key in ("attn_dropout", "ff_dropout"):
        if not 0 <= getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not in [0, 1)")
    if config.stft_n_fft % 2 or config.stft_hop_length > config.stft_n_fft // 2:
        raise ConfigError(
            f"model.stft_hop_length: {config.stft_hop_length} samples; at most half of an even"
            f" model.stft_n_fft = {config.stft_n_fft}, so that windows overlap"
        )
