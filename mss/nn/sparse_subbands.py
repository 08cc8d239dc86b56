"""Sparse down- and up-sampling of a spectrogram's bins, band by band, as in SCNet.

Tong et al., "SCNet: sparse compression network for music source separation", 2024 (arXiv
2401.13276), section 2. Each band has its own stride over frequency: the low one keeps its bins, the
high one, which holds less information, is compressed most. State-dict names are those of the
published checkpoints.

The bands of a layer can't share a batch: their strides, kernels and depths all differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class Band:
    """One band of a level: which bins it has and how they are compressed.

    Attributes:
        start, stop: its bins before the compression.
        kernel, stride: of the convolution over frequency; the stride divides the kernel, or is 1.
    """

    start: int
    stop: int
    kernel: int
    stride: int

    @property
    def bins(self) -> int:
        return self.stop - self.start

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros below and above: as many bins out as in for stride 1, else whole strides."""
        total = self.kernel - 1 if self.stride == 1 else -self.bins % self.stride
        return total // 2, total - total // 2

    @property
    def bins_out(self) -> int:
        return (self.bins + sum(self.padding) - self.kernel) // self.stride + 1


def split_bands(
    bins: int, ratios: Sequence[float], kernels: Sequence[int], strides: Sequence[int]
) -> tuple[Band, ...]:
    """Split `bins` bins at the running sums of `ratios`, rounded up; the last band has the rest."""
    edges = [0, *(math.ceil(bins * ratio) for ratio in accumulate(ratios[:-1])), bins]
    return tuple(
        Band(start, stop, kernel, stride)
        for (start, stop), kernel, stride in zip(pairwise(edges), kernels, strides, strict=True)
    )


class ConvolutionModule(nn.Module):
    """Residual branches over time: norm, conv with GLU, depth-wise conv, norm, SiLU, 1x1 conv.

    Args:
        channels: in and out.
        depth: number of branches, one after the other.
        compress: a branch works on channels / compress channels.
        kernel: frames that its two convolutions see, odd.
    """

    def __init__(self, channels: int, depth: int, compress: float, kernel: int) -> None:
        super().__init__()
        hidden, padding = int(channels / compress), kernel // 2
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, channels),
                nn.Conv1d(channels, 2 * hidden, kernel, padding=padding),
                nn.GLU(dim=1),
                nn.Conv1d(hidden, hidden, kernel, padding=padding, groups=hidden),
                nn.GroupNorm(1, hidden),
                nn.SiLU(),
                nn.Conv1d(hidden, channels, 1),
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, N] to [B, C, N]."""
        for layer in self.layers:
            x = x + layer(x)
        return x


class SparseDown(nn.Module):
    """Compress each band by a strided convolution over its bins."""

    def __init__(self, chin: int, chout: int, bands: Sequence[Band]) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self.convs = nn.ModuleList(
            nn.Conv2d(chin, chout, (band.kernel, 1), (band.stride, 1)) for band in bands
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map [B, chin, F, N] to one [B, chout, band.bins_out, N] a band."""
        return [
            conv(F.pad(x[:, :, band.start : band.stop], (0, 0, *band.padding)))
            for band, conv in zip(self.bands, self.convs, strict=True)
        ]


class SparseUp(nn.Module):
    """The mirror of SparseDown: transposed convolutions, cut to the bins there were."""

    def __init__(self, chin: int, chout: int, bands: Sequence[Band]) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self.convtrs = nn.ModuleList(
            nn.ConvTranspose2d(chin, chout, (band.kernel, 1), (band.stride, 1)) for band in bands
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, chin, F', N], F' = the sum of bins_out, to [B, chout, F, N]."""
        parts = torch.split(x, [band.bins_out for band in self.bands], dim=2)
        whole = []
        for band, convtr, part in zip(self.bands, self.convtrs, parts, strict=True):
            below = band.padding[0]
            whole.append(convtr(part)[:, :, below : below + band.bins])
        return torch.cat(whole, dim=2)


class SparseEncoderBlock(nn.Module):
    """Compress the bands, refine each over time, mix all by a convolution over both axes.

    Args:
        chin, chout: channels.
        bands: of this level.
        depths: branches of each band's ConvolutionModule.
        compress, kernel: of these; see there.
    """

    def __init__(
        self,
        chin: int,
        chout: int,
        bands: Sequence[Band],
        depths: Sequence[int],
        compress: float,
        kernel: int,
    ) -> None:
        super().__init__()
        self.SDlayer = SparseDown(chin, chout, bands)  # the name that published checkpoints have
        self.conv_modules = nn.ModuleList(
            ConvolutionModule(chout, depth, compress, kernel) for depth in depths
        )
        self.globalconv = nn.Conv2d(chout, chout, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, chin, F, N] to [B, chout, F', N], before (the skip) and after the mixing."""
        items = x.shape[0]
        refined = []
        for band, module in zip(self.SDlayer(x), self.conv_modules, strict=True):
            # each bin of each item is a sequence of its own
            y = F.gelu(module(rearrange(band, "b c f n -> (b f) c n")))
            refined.append(rearrange(y, "(b f) c n -> b c f n", b=items))
        skip = torch.cat(refined, dim=2)
        return self.globalconv(skip), skip


class Fusion(nn.Module):
    """Add the skip connection; a convolution with GLU over both axes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map two [B, C, F, N] to one."""
        # The published convolution sees the same C channels twice. It is linear, so the two halves
        # of its weights add up to one kernel of half the work.
        weight = rearrange(self.conv.weight, "o (copy i) h w -> copy o i h w", copy=2).sum(0)
        return F.glu(F.conv2d(x + skip, weight, self.conv.bias, padding=1), dim=1)


class SparseDecoderBlock(nn.ModuleList):
    """The mirror of SparseEncoderBlock: fusion with its skip, expansion of the bands."""

    def __init__(self, chin: int, chout: int, bands: Sequence[Band]) -> None:
        super().__init__([Fusion(chin), SparseUp(chin, chout, bands)])

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map two [B, chin, F', N] to [B, chout, F, N]."""
        fuse, expand = self
        y: Tensor = expand(fuse(x, skip))
        return y
