"""BS-RoFormer: rotary transformers over time and over the bands of a spectrogram.

Lu, Wang, Kong and Hung, "Music source separation with band-split RoPE transformer", 2023
(arXiv 2309.02612). The arithmetic and the state-dict names are those of the published checkpoints
(Music-Source-Separation-Training, after lucidrains' BS-RoFormer): their weights load, but for the
rotary frequencies that they repeat in every layer, which are a formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, Seconds
from mss.models.roformer import Roformer, RoformerConfig, check_options

# 24 bands of 43 Hz, 12 of 86, 8 each of 258, 517 and 1034, and two of 2.8 kHz (at 44.1 kHz)
_BANDS = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)


@dataclass(frozen=True)
class BSRoformerConfig(RoformerConfig):
    """The defaults are those of the published four-stem model of MUSDB18-HQ.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference.
        freqs_per_bands: bins of each band, from the lowest; their sum is stft_n_fft / 2 + 1.
    """

    segment: Seconds = Fraction(11)
    depth: int = 8
    attn_dropout: float = 0.1
    ff_dropout: float = 0.1
    mlp_expansion_factor: int = 2
    freqs_per_bands: tuple[int, ...] = _BANDS


class BSRoformer(Roformer):
    """BS-RoFormer.

    Args:
        config: see BSRoformerConfig and RoformerConfig.
        spec: what to separate; a mask network a source.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = BSRoformerConfig
    config: BSRoformerConfig

    def __init__(self, config: BSRoformerConfig, spec: AudioSpec) -> None:
        check_options(config)
        widths = config.freqs_per_bands
        bins = config.stft_n_fft // 2 + 1
        if not widths or min(widths) < 1 or sum(widths) != bins:
            raise ConfigError(
                f"model.freqs_per_bands: positive numbers of bins that add up to the {bins} of"
                f" model.stft_n_fft = {config.stft_n_fft} are needed; these give {sum(widths)}"
            )
        bands = list(pairwise(accumulate(widths, initial=0)))
        hidden_layers = config.mask_estimator_depth - 1
        super().__init__(config, spec, bands, hidden_layers, norm_each=False)

    @classmethod
    def tiny(cls, spec: AudioSpec) -> BSRoformer:
        config = BSRoformerConfig(
            segment=Fraction(1),
            dim=16,
            depth=2,
            heads=2,
            dim_head=8,
            attn_dropout=0.0,
            ff_dropout=0.0,
            stft_n_fft=256,
            stft_hop_length=64,
            freqs_per_bands=(2,) * 8 + (4,) * 4 + (16, 16, 32, 33),
        )
        return cls(config, spec)
