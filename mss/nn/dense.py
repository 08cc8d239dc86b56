"""Densely connected blocks of multi-dilated convolutions, as in D3Net.

Takahashi and Mitsufuji, "D3Net: densely connected multidilated DenseNet for music source
separation", 2020 (arXiv 2010.01733). A dense block feeds each layer with the outputs of all earlier
ones; here what came from layer i is seen with the dilation that suits layer i's field of view, so
that nothing is subsampled without having been filtered (which a plain dilated dense block does).
That is why a layer of the block is a convolution of *one* earlier output for all later layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NormConv(nn.Sequential):
    """Batch norm, ReLU and a 3x3 convolution that keeps the size of [B, C, F, N]."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation),
        )


class DenseChain(nn.Module):
    """Layers of which each adds to what all later ones see; the last one's output is the block's.

    `initial` starts the sums of all layers, growth channels each. Layer i reads its own sum,
    complete by then, and adds to those of the later layers.

    Args:
        initial: from the block's input to growth * (1 + len(layers)) channels.
        layers: from growth channels to those of all later layers.
        growth: output channels.
    """

    def __init__(self, initial: nn.Module, layers: Iterable[nn.Module], growth: int) -> None:
        super().__init__()
        self.initial = initial
        self.layers = nn.ModuleList(layers)
        self.growth = growth

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, F, N] to [B, growth, F, N]."""
        pending: Tensor = self.initial(x)
        for layer in self.layers:
            # only what is still to come is kept, never the concatenation of what was
            pending = layer(pending[:, : self.growth]).add_(pending[:, self.growth :])
        return pending


class D2Block(DenseChain):
    """A multi-dilated dense block: layer i's contributions are dilated by 2^i.

    It sees 2^(layers + 1) - 1 bins and frames.

    Args:
        inputs: channels.
        growth: output channels.
        layers: number of convolutions, the initial one (dilation 1) included.
    """

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__(
            NormConv(inputs, growth * layers),
            (
                NormConv(growth, growth * (layers - index), dilation=2**index)
                for index in range(1, layers)
            ),
            growth,
        )


class D3Block(DenseChain):
    """A dense block of D2 blocks.

    Args:
        inputs: channels.
        growth: output channels.
        layers: of each D2 block.
        blocks: number of D2 blocks.
    """

    def __init__(self, inputs: int, growth: int, layers: int, blocks: int) -> None:
        super().__init__(
            D2Block(inputs, growth * blocks, layers),
            (D2Block(growth, growth * (blocks - index), layers) for index in range(1, blocks)),
            growth,
        )


@dataclass(frozen=True)
class BranchOptions:
    """Shape of a multi-scale branch.

    Attributes:
        features: channels of its first convolution.
        growth: output channels of each D3 block, down to the deepest level and up again.
        layers: of each D3 block's D2 blocks.
        blocks: D2 blocks in a D3 block.
    """

    features: int
    growth: Sequence[int]
    layers: Sequence[int]
    blocks: int

    @property
    def levels(self) -> int:
        """Times that bins and frames are halved."""
        return len(self.growth) // 2

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.growth[-1]


class MultiScaleBranch(nn.Module):
    """D3 blocks at halved and halved again resolutions, with skips (MD3).

    Args:
        inputs: channels.
        options: see BranchOptions; an odd number of blocks.
    """

    def __init__(self, inputs: int, options: BranchOptions) -> None:
        super().__init__()
        assert len(options.growth) == len(options.layers) == 2 * options.levels + 1
        levels, blocks = options.levels, options.blocks
        growths = options.growth
        self.features = nn.Conv2d(inputs, options.features, 3, padding=1)
        self.down, self.up, self.upsample = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels = options.features
        for growth, layers in zip(growths[:levels], options.layers[:levels], strict=True):
            self.down.append(D3Block(channels, growth, layers, blocks))
            channels = growth
        self.bottom = D3Block(channels, growths[levels], options.layers[levels], blocks)
        channels = growths[levels]
        for index in range(levels + 1, len(growths)):
            self.upsample.append(
                nn.Sequential(
                    nn.BatchNorm2d(channels), nn.ConvTranspose2d(channels, channels, 2, stride=2)
                )
            )
            channels += growths[2 * levels - index]  # the skip of this level
            self.up.append(D3Block(channels, growths[index], options.layers[index], blocks))
            channels = growths[index]

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, F, N] to [B, outputs, F, N]; F and N are multiples of 2^levels."""
        x = self.features(x)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.bottom(x)
        for upsample, block in zip(self.upsample, self.up, strict=True):
            x = block(torch.cat([upsample(x), skips.pop()], dim=1))
        return x
