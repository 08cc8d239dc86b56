"""Bands of a spectrogram to tokens of equal width, and tokens back to a mask over all bins.

Lu, Wang, Kong and Hung, 2023 (arXiv 2309.02612), after Luo and Yu's band-split RNN; mel bands:
Wang, Lu and Won, 2023 (arXiv 2310.01809). State-dict names are those of the published checkpoints,
which hold one small network a band.

Which bands are batched: the splitting layers of neighbouring bands of equal width (in BS-RoFormer
24 bands of 2 bins, 12 of 4, three times 8 and the last two alone), one product a group. The mask
networks too, but not on a CPU: there one product a band fills the machine, and stacking the weights
costs more than it saves (62 bands of 192 features to 768 on one thread: 226 ms for 690 frames one
by one, 337 ms stacked). On other devices, where every small product is a launch, all bands share
one product a layer, and the last layer one a group.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mss.nn.rotary_transformer import RMSNorm

Band = tuple[int, int]
"""First bin and the one after the last."""


def _groups(widths: Sequence[int]) -> list[slice]:
    """Return runs of neighbours of equal width."""
    groups, start = [], 0
    for _, run in groupby(widths):
        stop = start + len(list(run))
        groups.append(slice(start, stop))
        start = stop
    return groups


def _linear_each(x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Apply K linear layers of one shape to K inputs: [K, R, in] -> [K, R, out]."""
    weight = torch.stack([layer.weight for layer in layers])
    bias = torch.stack([layer.bias for layer in layers])
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


class BandSplit(nn.Module):
    """Normalise each band and project it to `dim` features.

    Args:
        dim: features of a token.
        bands: K bands; they may overlap.
        per_bin: real numbers in a bin (2 x channels).
    """

    def __init__(self, dim: int, bands: Sequence[Band], per_bin: int) -> None:
        super().__init__()
        self.ranges = [(start * per_bin, stop * per_bin) for start, stop in bands]
        widths = [stop - start for start, stop in self.ranges]
        self.groups = _groups(widths)
        self.to_features = nn.ModuleList(
            nn.Sequential(RMSNorm(width), nn.Linear(width, dim)) for width in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map a spectrogram [B, N, F * per_bin] to tokens [B, N, K, dim]."""
        items = x.shape[0]
        tokens = []
        for group in self.groups:
            norms, linears = zip(*self.to_features[group], strict=True)
            band = torch.stack([x[..., start:stop] for start, stop in self.ranges[group]])
            gamma = torch.stack([norm.gamma for norm in norms])
            unit = norms[0].normalise(band) * gamma[:, None, None]
            flat = rearrange(unit, "k b n w -> k (b n) w")
            projected = _linear_each(flat, linears)
            tokens.append(rearrange(projected, "k (b n) d -> b n k d", b=items))
        return torch.cat(tokens, dim=2)


class BandMask(nn.Module):
    """Tokens to a complex mask: one network with tanh and a gated output a band.

    Bins that several bands cover get the mean of their masks.

    Args:
        dim: features of a token.
        bands: K bands that cover all bins, each overlapping at most its two neighbours.
        per_bin: real numbers in a bin (2 x channels).
        hidden: features between the layers.
        hidden_layers: layers before the last one.
    """

    share: Tensor

    def __init__(
        self, dim: int, bands: Sequence[Band], per_bin: int, hidden: int, hidden_layers: int
    ) -> None:
        super().__init__()
        self.ranges = [(start * per_bin, stop * per_bin) for start, stop in bands]
        widths = [stop - start for start, stop in self.ranges]
        self.groups = _groups(widths)
        self.to_freqs = nn.ModuleList(
            nn.Sequential(_mlp([dim, *[hidden] * hidden_layers, 2 * width]), nn.GLU(dim=-1))
            for width in widths
        )
        self.size = self.ranges[-1][1]
        self.overlapping = sum(widths) > self.size
        cover = [0] * self.size
        for start, stop in self.ranges:
            for index in range(start, stop):
                cover[index] += 1
        assert min(cover) > 0
        # of one band in the mean, at each number
        self.register_buffer("share", torch.tensor([1 / n for n in cover]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, N, K, dim] to a mask [B, N, F * per_bin]."""
        pieces = self._one_by_one(x) if x.device.type == "cpu" else self._batched(x)
        if not self.overlapping:
            return torch.cat(pieces, dim=-1)
        # every second band: these do not overlap
        even, odd = (self._lay_out(pieces[lane::2], self.ranges[lane::2]) for lane in (0, 1))
        return (even + odd) * self.share.to(even.dtype)

    def _one_by_one(self, x: Tensor) -> list[Tensor]:
        return [mlp(x[:, :, band].contiguous()) for band, mlp in enumerate(self.to_freqs)]

    def _batched(self, x: Tensor) -> list[Tensor]:
        items = x.shape[0]
        linears = [[m for m in mlp.modules() if isinstance(m, nn.Linear)] for mlp in self.to_freqs]
        *hidden, last = zip(*linears, strict=True)
        h = rearrange(x, "b n k d -> k (b n) d")
        for layers in hidden:
            h = torch.tanh(_linear_each(h, layers))
        pieces: list[Tensor] = []
        for group in self.groups:
            out = F.glu(_linear_each(h[group], last[group]), dim=-1)
            pieces += rearrange(out, "k (b n) w -> k b n w", b=items).unbind(0)
        return pieces

    def _lay_out(self, pieces: Sequence[Tensor], ranges: Sequence[Band]) -> Tensor:
        """Put pieces [B, N, width] at their places in [B, N, F * per_bin], zeros between them."""
        row, position = [], 0
        for piece, (start, stop) in zip(pieces, ranges, strict=True):
            row += [piece.new_zeros(*piece.shape[:-1], start - position), piece]
            position = stop
        row.append(pieces[0].new_zeros(*pieces[0].shape[:-1], self.size - position))
        return torch.cat(row, dim=-1)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for before, after in pairwise(widths[1:]):
        layers += [nn.Tanh(), nn.Linear(before, after)]
    return nn.Sequential(*layers)
