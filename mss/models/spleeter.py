"""Spleeter: one U-Net a source looks at magnitudes, ratio masks of their powers share the mixture.

Hennequin, Khlif, Voituret and Moussallam, "Spleeter: a fast and efficient music source separation
tool with pre-trained models", JOSS 5(50), 2020, after the U-Net of Jansson et al., ISMIR 2017.

The networks are not scale invariant: they look at magnitudes of an STFT that is not normalised, of
waves in [-1, 1].
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
from mss.core.types import AudioSpec, Estimate, Seconds
from mss.nn.padding import pad_to_multiple

# strided 5 x 5 convolutions that halve an even size as TensorFlow's "same" padding does
_PADDING = (1, 2, 1, 2)
# up levels with dropout, from the deepest
_DROPPED = 3
# of the powers that a ratio mask divides
_EPS = 1e-10


@dataclass(frozen=True)
class SpleeterConfig(SeparatorConfig):
    """The defaults are those of the published 2-stem model.

    Attributes:
        segment: seconds of one training crop and of one chunk at inference; the default fills
            one patch.
        nfft, nhop: STFT window and hop, samples.
        bins: lowest bins that the networks look at and have masks for.
        frames: of one patch; the networks see no further, and the last patch is filled with zeros.
        channels: of the first level, doubled by each of the following.
        depth: levels; each halves bins and frames.
        activation: "relu" (leaky on the way down; 2 stems) or "elu" (4 stems).
        dropout: in the three deepest levels of the way up.
        exponent: of the networks' magnitudes in the ratio masks of evaluation; None: each
            network's own mask, which is what training sees.
        extension: what bins beyond `bins` are given: "zeros" or the "average" of a frame's mask.
    """

    segment: Seconds = Fraction("11.88")
    nfft: int = 4096
    nhop: int = 1024
    bins: int = 1024
    frames: int = 512
    channels: int = 16
    depth: int = 6
    activation: Literal["relu", "elu"] = "relu"
    dropout: float = 0.5
    exponent: float | None = 2.0
    extension: Literal["zeros", "average"] = "zeros"


class UNet(nn.Module):
    """Magnitudes of a mixture to a mask for one source, in a patch.

    The way up joins the convolutions of the way down before their normalisation; the deepest one
    has none. (The published files hold one for it, which nothing reads.)

    Args:
        audio_channels: C.
        config: see SpleeterConfig.
    """

    def __init__(self, audio_channels: int, config: SpleeterConfig) -> None:
        super().__init__()
        widths = [config.channels * 2**level for level in range(config.depth)]
        self.down = nn.ModuleList(
            nn.Conv2d(below, width, 5, stride=2)
            for below, width in zip([audio_channels, *widths], widths, strict=False)
        )
        self.down_norm = nn.ModuleList(_norm(width) for width in widths[:-1])
        self.up = nn.ModuleList()
        self.up_norm = nn.ModuleList()
        for level in reversed(range(config.depth)):
            joined = widths[level] * (1 if level == config.depth - 1 else 2)
            width = widths[level - 1] if level else 1
            self.up.append(nn.ConvTranspose2d(joined, width, 5, stride=2, padding=1))
            self.up_norm.append(_norm(width))
        self.mask = nn.Conv2d(1, audio_channels, 4, dilation=2, padding=3)
        self.elu = config.activation == "elu"
        self.dropout = config.dropout

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map magnitudes [P, C, N, F] to a mask [P, C, N, F] in [0, 1]."""
        skips = [self.down[0](F.pad(magnitude, _PADDING))]
        for norm, down in zip(self.down_norm, self.down[1:], strict=True):
            x = norm(skips[-1])
            x = F.elu(x) if self.elu else F.leaky_relu(x, 0.2)
            skips.append(down(F.pad(x, _PADDING)))
        x = skips.pop()
        for level, (up, norm) in enumerate(zip(self.up, self.up_norm, strict=True)):
            if level:
                x = torch.cat([skips.pop(), x], dim=1)
            x = up(x)[..., :-1, :-1]  # the transpose of _PADDING takes 1 and 2 off
            x = norm(F.elu(x) if self.elu else F.relu(x))
            if level < _DROPPED:
                x = F.dropout(x, self.dropout, self.training)
        return torch.sigmoid(self.mask(x))


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)  # as the published weights assume


class Spleeter(Separator):
    """Spleeter: U-Nets that share nothing, then ratio masks.

    In training each network's own mask is applied, as the authors train each against its own source
    (L1 of magnitudes); in evaluation the networks' magnitudes are made to share the mixture.

    Raises:
        ConfigError: options that do not fit together.
    """

    Config = SpleeterConfig
    config: SpleeterConfig

    def __init__(self, config: SpleeterConfig, spec: AudioSpec) -> None:
        super().__init__(config, spec)
        _check(config, spec)
        self.stft = Stft(config.nfft, config.nhop, pad_mode="constant")
        self.unets = nn.ModuleList(UNet(spec.channels, config) for _ in spec.sources)

    def analyse(self, mix: Tensor) -> Features:
        """Turn a mixture [B, C, T] into patches of magnitudes [B P, C, N, F]."""
        spec = self.stft(mix)
        magnitude = pad_to_multiple(spec[..., : self.config.bins, :].abs(), self.config.frames)
        patches = rearrange(magnitude, "b c f (p n) -> (b p) c n f", n=self.config.frames)
        return Features((patches.contiguous(),), {"spec": spec, "length": mix.shape[-1]})

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map patches [B P, C, N, F] to each source's own mask of them, [B P, S, C, N, F]."""
        return (torch.stack([unet(inputs[0]) for unet in self.unets], dim=1),)

    def synthesise(self, features: Features, outputs: tuple[Tensor, ...]) -> Estimate:
        """Mask the mixture's spectrogram; in evaluation by ratios, see `SpleeterConfig`."""
        mix, length, config = features.context["spec"], features.context["length"], self.config
        masks = outputs[0].to(mix.real.dtype)
        if config.exponent is not None and not self.training:
            masks = ratio_masks(masks * features.inputs[0][:, None], config.exponent)
        masks = rearrange(masks, "(b p) s c n f -> b s c f (p n)", b=mix.shape[0])
        spec = self._extended(masks[..., : mix.shape[-1]]) * mix[:, None]
        return Estimate(self.stft.inverse(spec, length), spec, self.stft)

    def _extended(self, masks: Tensor) -> Tensor:
        """Give masks [..., bins, N] all bins of the STFT."""
        missing = self.stft.bins - self.config.bins
        if self.config.extension == "zeros":
            return F.pad(masks, (0, 0, 0, missing))
        average = masks.mean(dim=-2, keepdim=True)
        return torch.cat([masks, average.expand(*masks.shape[:-2], missing, -1)], dim=-2)

    def _keep_rows(self, rows: tuple[int, ...]) -> bool:
        if self.config.exponent is not None:
            return False  # a mask is the share in all magnitudes
        self.unets = nn.ModuleList(self.unets[row] for row in rows)
        return True

    @classmethod
    def tiny(cls, spec: AudioSpec) -> Spleeter:
        config = SpleeterConfig(
            segment=Fraction(1),
            nfft=512,
            nhop=128,
            bins=128,
            frames=32,
            channels=4,
            depth=4,
            exponent=2.0 if len(spec.sources) > 1 else None,
        )
        return cls(config, spec)


def ratio_masks(magnitudes: Tensor, exponent: float) -> Tensor:
    """Return masks that share a mixture by its sources' magnitudes [B, S, ...], of the same shape.

    (m_s^exponent + eps / S) / (sum_s m_s^exponent + eps): they sum to 1, where nothing sounds too.
    """
    power = magnitudes**exponent
    return (power + _EPS / magnitudes.shape[1]) / (power.sum(dim=1, keepdim=True) + _EPS)


def _check(config: SpleeterConfig, spec: AudioSpec) -> None:
    for key in ("nfft", "nhop", "bins", "frames", "channels", "depth"):
        if getattr(config, key) < 1:
            raise ConfigError(f"model.{key}: {getattr(config, key)} is not positive")
    if config.nfft % 2 or config.nhop > config.nfft // 2:
        raise ConfigError(
            f"model.nhop: {config.nhop} samples; at most half of an even model.nfft ="
            f" {config.nfft}, so that windows overlap"
        )
    multiple = 2**config.depth
    for key in ("bins", "frames"):
        if getattr(config, key) % multiple:
            raise ConfigError(
                f"model.{key}: {getattr(config, key)} can't be halved model.depth ="
                f" {config.depth} times; give a multiple of {multiple}"
            )
    if config.bins > config.nfft // 2 + 1:
        raise ConfigError(
            f"model.bins: {config.bins}, but model.nfft = {config.nfft} has {config.nfft // 2 + 1}"
        )
    if not 0 <= config.dropout < 1:
        raise ConfigError(f"model.dropout: {config.dropout} is not in [0, 1)")
    if config.exponent is not None:
        if config.exponent <= 0:
            raise ConfigError(f"model.exponent: {config.exponent} is not positive")
        if len(spec.sources) == 1:
            raise ConfigError(
                f"model.exponent: {spec.sources[0]!r} has nothing to share the mixture with; set"
                " model.exponent=null"
            )
