"""The dilated residual branch inside every layer of Demucs v3 and v4."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mss.nn.attention import LocalAttention
from mss.nn.recurrent import SpanBLSTM


class LayerScale(nn.Module):
    """Add a branch, each channel times a learnt factor (Touvron et al., arXiv 2103.17239).

    A tiny initial value lets the branch fade in during training.

    Args:
        channels: C.
        init: the factors at first.
        channels_last: tensors are [B, T, C] instead of [B, C, T].
    """

    def __init__(self, channels: int, init: float, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.scale = nn.Parameter(torch.full((channels,), float(init)))

    def forward(self, branch: Tensor, x: Tensor) -> Tensor:
        """Return x + scale * branch, both of the same shape, in one pass."""
        scale = self.scale if self.channels_last else self.scale[:, None]
        return torch.addcmul(x, scale, branch)


@dataclass(frozen=True)
class DConvOptions:
    """Shape of a DConv branch.

    Attributes:
        depth: number of residual blocks; the dilation doubles with each. Negative: as many blocks
            without dilation.
        compress: the blocks work on channels / compress hidden channels.
        init: initial LayerScale.
        lstm: put a two-layer BLSTM inside each block.
        attention: put local attention inside each block (after the BLSTM).
        heads: of the attention.
    """

    depth: int = 2
    compress: float = 4
    init: float = 1e-4
    lstm: bool = False
    attention: bool = False
    heads: int = 4

    def hidden(self, channels: int) -> int:
        """Channels inside a block of a layer with `channels` channels."""
        return int(channels / self.compress)


class DConv(nn.Module):
    """Residual blocks over the last axis: dilated conv, [BLSTM, attention], 1x1 conv with GLU.

    Each normalisation is over all channels and steps of one item (GroupNorm of one group).
    """

    def __init__(self, channels: int, options: DConvOptions) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _block(channels, options, dilation=2**index if options.depth > 0 else 1)
            for index in range(abs(options.depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        for block in self.layers:
            assert isinstance(block, nn.ModuleList)
            *branch, layer_scale = block
            y = x
            for layer in branch:
                y = layer(y)
            x = layer_scale(y, x)
        return x


def _block(channels: int, options: DConvOptions, dilation: int) -> nn.ModuleList:
    hidden = options.hidden(channels)
    inner: list[nn.Module] = []
    if options.lstm:
        inner.append(SpanBLSTM(hidden))
    if options.attention:
        inner.append(LocalAttention(hidden, options.heads))
    return nn.ModuleList(
        [
            nn.Conv1d(channels, hidden, 3, dilation=dilation, padding=dilation),
            nn.GroupNorm(1, hidden),
            nn.GELU(),
            *inner,
            nn.Conv1d(hidden, 2 * channels, 1),
            nn.GroupNorm(1, 2 * channels),
            nn.GLU(dim=1),
            LayerScale(channels, options.init),
        ]
    )
