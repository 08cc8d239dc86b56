"""Time-frequency convolutions with a time-distributed linear layer: the block of TFC-TDF U-nets.

Kim, Lee and Jung, "Sound demixing challenge 2023 music demixing track technical report:
TFC-TDF-UNet v3", 2023 (arXiv 2306.09382). Spectrograms are [B, C, N, F], bins last, so that the
linear layer over all bins of a frame needs no move of axes. State-dict names are those of the
published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TfcTdfOptions:
    """What all levels of a TFC-TDF U-net have in common.

    Attributes:
        blocks: a level.
        bottleneck: a block's linear layers go from F bins through F // bottleneck features.
        scale: factors by which a level shortens frames and bins.
        norm: channels -> normalisation of [B, C, N, F].
        activation: makes a new activation.
    """

    blocks: int
    bottleneck: int
    scale: tuple[int, int]
    norm: Callable[[int], nn.Module]
    activation: Callable[[], nn.Module]

    def before(self, channels: int, layer: nn.Module) -> list[nn.Module]:
        """Return norm, activation and the layer they stand before (pre-activation)."""
        return [self.norm(channels), self.activation(), layer]


class TfcTdfBlock(nn.Module):
    """3x3 convolution, residual bottleneck over the bins, 3x3 convolution; 1x1 shortcut around all.

    Args:
        chin, chout: channels.
        bins: F.
        options: see there.
    """

    def __init__(self, chin: int, chout: int, bins: int, options: TfcTdfOptions) -> None:
        super().__init__()
        before, narrow = options.before, bins // options.bottleneck
        self.tfc1 = nn.Sequential(*before(chin, _conv3x3(chin, chout)))
        self.tdf = nn.Sequential(
            *before(chout, nn.Linear(bins, narrow, bias=False)),
            *before(chout, nn.Linear(narrow, bins, bias=False)),
        )
        self.tfc2 = nn.Sequential(*before(chout, _conv3x3(chout, chout)))
        self.shortcut = nn.Conv2d(chin, chout, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, chin, N, F] to [B, chout, N, F]."""
        # Sums go into the branch's own memory: neither a convolution nor a linear layer keeps its
        # output for the backward pass. The shortcut comes last, so that its output is not held
        # while the wider input is normalised.
        y: Tensor = self.tfc1(x)
        y = self.tdf(y).add_(y)
        y = self.tfc2(y).add_(self.shortcut(x))
        return y


class TfcTdf(nn.Module):
    """The blocks of one level; the first one changes the channels."""

    def __init__(self, chin: int, chout: int, bins: int, options: TfcTdfOptions) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TfcTdfBlock(chout if index else chin, chout, bins, options)
            for index in range(options.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, chin, N, F] to [B, chout, N, F]."""
        for block in self.blocks:
            x = block(x)
        return x


class Rescale(nn.Module):
    """Norm, activation and a strided convolution, or its transpose, as wide as its stride."""

    def __init__(self, chin: int, chout: int, options: TfcTdfOptions, up: bool) -> None:
        super().__init__()
        kind, scale = nn.ConvTranspose2d if up else nn.Conv2d, options.scale
        self.conv = nn.Sequential(
            *options.before(chin, kind(chin, chout, scale, scale, bias=False))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, chin, N, F] to [B, chout, N, F], N and F divided, or multiplied, by `scale`."""
        y: Tensor = self.conv(x)
        return y


class EncoderLevel(nn.Module):
    """Blocks of `width` channels, then down to `wider` ones."""

    def __init__(self, width: int, wider: int, bins: int, options: TfcTdfOptions) -> None:
        super().__init__()
        self.tfc_tdf = TfcTdf(width, width, bins, options)
        self.downscale = Rescale(width, wider, options, up=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, width, N, F] to [B, wider, N / scale, F / scale], and give the skip beside it."""
        skip = self.tfc_tdf(x)
        return self.downscale(skip), skip


class DecoderLevel(nn.Module):
    """The mirror of EncoderLevel; the skip's channels stand beside its own."""

    def __init__(self, width: int, wider: int, bins: int, options: TfcTdfOptions) -> None:
        super().__init__()
        self.upscale = Rescale(wider, width, options, up=True)
        self.tfc_tdf = TfcTdf(2 * width, width, bins, options)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Map [B, wider, N / scale, F / scale] to [B, width, N, F].

        Takes its skip, [B, width, N, F], from the end of `skips`, so that nothing but this call
        holds it and its memory is free again once it stands beside the other channels.
        """
        y: Tensor = self.tfc_tdf(torch.cat([self.upscale(x), skips.pop()], dim=1))
        return y


def _conv3x3(chin: int, chout: int) -> nn.Conv2d:
    return nn.Conv2d(chin, chout, 3, padding=1, bias=False)
