"""Bands of a spectrogram with weights of their own, computed together where they are equally wide.

Used by BandSplitRNN (Luo and Yu, arXiv 2209.15174). Bands whose width in bins is the same share one
batched matrix product, wherever they lie; rounding to whole bins makes two widths of one width in
Hz, so that V7's 41 bands become about ten products. What does not depend on the width (the hidden
layers of the masks) is one product over all bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class BandLayout:
    """Adjacent bands of a spectrogram, and their groups of equal width.

    Attributes:
        edges: first bin of each band, then the number of bins; increasing from 0.
    """

    edges: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Bins of each band."""
        return tuple(stop - start for start, stop in pairwise(self.edges))

    @property
    def groups(self) -> dict[int, list[int]]:
        """Numbers of the bands of each width, by width."""
        groups: dict[int, list[int]] = {}
        for band, width in enumerate(self.widths):
            groups.setdefault(width, []).append(band)
        return groups

    @property
    def grouped_bands(self) -> list[int]:
        """Numbers of all bands, one group after the other."""
        return [band for bands in self.groups.values() for band in bands]

    @property
    def grouped_bins(self) -> list[int]:
        """Numbers of all bins, one group after the other."""
        return [
            index
            for band in self.grouped_bands
            for index in range(self.edges[band], self.edges[band + 1])
        ]


def _place(order: Sequence[int]) -> Tensor:
    """Where each element went: the inverse of a permutation, as an index."""
    return torch.argsort(torch.tensor(order))


class BandLinear(nn.Module):
    """A linear layer a band: [K, M, inputs] to [K, M, outputs], one batched product.

    Args:
        bands: K.
        inputs, outputs: features.
        norm: normalise each row of the input over its features first, with a learnt scale and
            shift (layer norm), which are folded into the weights: there are fewer of those.
    """

    def __init__(self, bands: int, inputs: int, outputs: int, norm: bool = False) -> None:
        super().__init__()
        bound = inputs**-0.5  # as in nn.Linear
        self.weight = nn.Parameter(torch.empty(bands, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(bands, 1, outputs).uniform_(-bound, bound))
        self.norm_weight: nn.Parameter | None = None
        self.norm_bias: nn.Parameter | None = None
        if norm:
            self.norm_weight = nn.Parameter(torch.ones(bands, inputs, 1))
            self.norm_bias = nn.Parameter(torch.zeros(bands, 1, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [K, M, inputs] to [K, M, outputs]."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self.norm_weight is not None and self.norm_bias is not None:
            x = F.layer_norm(x, x.shape[-1:])
            bias = torch.baddbmm(bias, self.norm_bias, weight)
            weight = self.norm_weight * weight
        return torch.baddbmm(bias, x, weight)


class BandSplit(nn.Module):
    """Layer norm and a linear layer for each band: bins to features.

    Args:
        layout: the bands.
        parts: real numbers a bin (2: real and imaginary part).
        features: out.
    """

    place: Tensor
    order: Tensor

    def __init__(self, layout: BandLayout, parts: int, features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            BandLinear(len(bands), parts * width, features, norm=True)
            for width, bands in layout.groups.items()
        )
        self.sizes = [width * len(bands) for width, bands in layout.groups.items()]
        self.counts = [len(bands) for bands in layout.groups.values()]
        self.register_buffer("order", torch.tensor(layout.grouped_bins), persistent=False)
        self.register_buffer("place", _place(layout.grouped_bands), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows [M, parts, F] to the bands' features [K, M, features]."""
        groups = torch.split(x.index_select(-1, self.order), self.sizes, dim=-1)
        bands = [
            layer(rearrange(group, "m p (k w) -> k m (p w)", k=count))
            for layer, group, count in zip(self.layers, groups, self.counts, strict=True)
        ]
        return torch.cat(bands).index_select(0, self.place)


class BandMasks(nn.Module):
    """Layer norm and an MLP for each band: features to a mask of its bins.

    Args:
        layout: the bands.
        parts: real numbers a bin: 1 makes a mask in (0, 1) by a sigmoid, 2 the real and the
            imaginary part of a complex one by a gated linear unit.
        features: in.
        hidden: units of a hidden layer, with tanh.
        layers: number of hidden layers.
    """

    place: Tensor
    order: Tensor

    def __init__(
        self, layout: BandLayout, parts: int, features: int, hidden: int, layers: int
    ) -> None:
        super().__init__()
        bands, self.parts = len(layout.widths), parts
        # the bands of one group after the other, as in `layers`
        self.hidden = nn.ModuleList(
            BandLinear(bands, hidden if index else features, hidden, norm=index == 0)
            for index in range(layers)
        )
        outputs = 2 * parts if parts > 1 else 1
        self.layers = nn.ModuleList(
            BandLinear(len(members), hidden, outputs * width)
            for width, members in layout.groups.items()
        )
        self.counts = [len(members) for members in layout.groups.values()]
        self.register_buffer("order", torch.tensor(layout.grouped_bands), persistent=False)
        self.register_buffer("place", _place(layout.grouped_bins), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map the bands' features [K, M, features] to the masks of all rows, [M, F, parts]."""
        x = x.index_select(0, self.order)
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        masks = [
            rearrange(self._activate(layer(group)), "k m (p w) -> m (k w) p", p=self.parts)
            for layer, group in zip(self.layers, torch.split(x, self.counts), strict=True)
        ]
        return torch.cat(masks, dim=1).index_select(1, self.place)

    def _activate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x) if self.parts == 1 else F.glu(x, dim=-1)
