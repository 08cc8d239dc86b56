"""Frequency layers with separate weights for separate bands.

With equal weights in every band they equal the plain layer of hybrid_layers: bands overlap in what
they read and their outputs meet without an edge.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mss.nn.hybrid_layers import DecoderLayer, EncoderLayer, LayerOptions, without_padding


class BandEncoderLayer(nn.Module):
    """One EncoderLayer a band; splits the bins of [B, C, F, N] at ratios of F.

    Args:
        chin, chout: channels.
        options: a frequency layer without norms.
        ratios: increasing, in (0, 1); one more band than ratios.
    """

    def __init__(
        self, chin: int, chout: int, options: LayerOptions, ratios: Sequence[float]
    ) -> None:
        super().__init__()
        assert options.frequency and options.norm_groups is None
        self.options = options
        self.ratios = tuple(ratios)
        inner = without_padding(options)
        bands = len(ratios) + 1
        self.layers = nn.ModuleList(EncoderLayer(chin, chout, inner) for _ in range(bands))

    def output_bounds(self, bins: int) -> list[int]:
        """Return where the bands' outputs begin and end, in output bins."""
        kernel, stride, padding = self.options.kernel, self.options.stride, self.options.padding
        bounds = [0]
        for ratio in self.ratios:
            # as many outputs as read (about) no further than the split
            limit = round(bins * ratio) + padding
            bounds.append(bounds[-1] + round((limit - bounds[-1] * stride - kernel) / stride + 1))
        return [*bounds, (bins + 2 * padding - kernel) // stride + 1]

    def forward(self, x: Tensor, inject: Tensor | None = None) -> Tensor:
        """Map [B, chin, F, N] to [B, chout, F / stride, N]."""
        assert inject is None
        kernel, stride, padding = self.options.kernel, self.options.stride, self.options.padding
        bounds = self.output_bounds(x.shape[2])
        x = F.pad(x, (0, 0, padding, padding))
        bands = [
            layer(x[:, :, begin * stride : (end - 1) * stride + kernel])
            for layer, (begin, end) in zip(self.layers, pairwise(bounds), strict=True)
        ]
        return torch.cat(bands, dim=2)


class BandDecoderLayer(nn.Module):
    """One DecoderLayer a band, their transposed convolutions overlapped and added.

    Args:
        chin, chout, options, ratios: as BandEncoderLayer; kernel must be twice the stride.
        last: no activation at the end.
    """

    def __init__(
        self,
        chin: int,
        chout: int,
        options: LayerOptions,
        ratios: Sequence[float],
        last: bool = False,
    ) -> None:
        super().__init__()
        assert options.frequency and options.norm_groups is None
        assert options.kernel == 2 * options.stride and not (
            options.context and options.context_frequency
        )
        self.options = options
        self.ratios = tuple(ratios)
        self.last = last
        inner = without_padding(options)
        bands = len(ratios) + 1
        self.layers = nn.ModuleList(DecoderLayer(chin, chout, inner) for _ in range(bands))

    def forward(self, x: Tensor, skip: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Go up one level; see DecoderLayer.forward."""
        x = x if skip is None else x + skip
        bins = x.shape[2]
        bounds = [0, *(round(bins * ratio) for ratio in self.ratios), bins]
        overlap = self.options.kernel - self.options.stride
        pieces: list[Tensor] = []
        refined: list[Tensor] = []
        for layer, (begin, end) in zip(self.layers, pairwise(bounds), strict=True):
            assert isinstance(layer, DecoderLayer)
            y = layer.refine(x[:, :, begin:end])
            z = layer.conv_tr(y)
            if pieces:
                # both bands gave the shared bins their bias; it counts once
                bias = layer.conv_tr.bias
                assert isinstance(bias, Tensor)
                shared = pieces[-1][:, :, -overlap:] + (z[:, :, :overlap] - bias[:, None, None])
                pieces[-1] = pieces[-1][:, :, :-overlap]
                pieces += [shared, z[:, :, overlap:]]
            else:
                pieces.append(z)
            refined.append(y)
        start = self.options.padding
        whole = torch.cat(pieces, dim=2)[:, :, start : start + length]
        return (whole if self.last else F.gelu(whole)), torch.cat(refined, dim=2)
