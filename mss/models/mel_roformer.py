"""MelBand-RoFormer: BS-RoFormer over overlapping bands that are equally wide in mel.

Wang, Lu and Won, "Mel-band RoFormer for music source separation", 2023 (arXiv 2310.01809). The
arithmetic and the state-dict names are those of the published checkpoints
(Music-Source-Separation-Training, after lucidrains' BS-RoFormer): their weights load, but for the
rotary frequencies that they repeat in every layer, which are a formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.roformer import Roformer, RoformerConfig, check_options
from mss.nn.mel_bands import mel_bands


@dataclass(frozen=True)
class MelRoformerConfig(RoformerConfig):
    """The defaults are those of the published vocals model (KimberleyJensen's).

    Attributes:
        num_bands: mel bands from 0 Hz to half the samplerate.
    """

    num_bands: int = 60


class MelRoformer(Roformer):
    """MelBand-RoFormer.

    A mask network has one layer more than in BS-RoFormer of the same `mask_estimator_depth`, and
    each transformer's output is normalised instead of the last one's only.

    Args:
        config: see MelRoformerConfig and RoformerConfig.
        spec: what to separate; a mask network a source. The bands depend on its samplerate.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = MelRoformerConfig
    config: MelRoformerConfig

    def __init__(self, config: MelRoformerConfig, spec: AudioSpec) -> None:
        check_options(config)
        if config.num_bands < 2:
            raise ConfigError(f"model.num_bands: {config.num_bands}; at least 2 are needed")
        bands = mel_bands(spec.samplerate, config.stft_n_fft, config.num_bands)
        empty = sum(start == stop for start, stop in bands)
        if empty:
            raise ConfigError(
                f"model.num_bands: of {config.num_bands} mel bands {empty} hold no bin of"
                f" model.stft_n_fft = {config.stft_n_fft} at {spec.samplerate} Hz; take fewer"
                " bands or a longer window"
            )
        hidden_layers = config.mask_estimator_depth
        super().__init__(config, spec, bands, hidden_layers, norm_each=True)

    @classmethod
    def tiny(cls, spec: AudioSpec) -> MelRoformer:
        config = MelRoformerConfig(
            segment=Fraction(1),
            dim=16,
            depth=2,
            heads=2,
            dim_head=8,
            mask_estimator_depth=1,
            mlp_expansion_factor=2,
            stft_n_fft=256,
            stft_hop_length=64,
            num_bands=8,
        )
        return cls(config, spec)
