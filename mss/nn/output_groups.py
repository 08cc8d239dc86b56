"""Convolutions that give only some groups of their output channels."""

from collections.abc import Sequence

import torch
from torch import nn

_Convolution = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d


def keep_output_groups(layer: nn.Module, kept: Sequence[int], groups: int) -> None:
    """Let a convolution give only some of the equal groups that its output channels form.

    Args:
        layer: a convolution, transposed or not, whose outputs all see all inputs; it gets weights
            of its own.
        kept: groups, in the order in which they are to come out.
        groups: how many there are, one behind the other.
    """
    assert isinstance(layer, _Convolution), type(layer)
    assert layer.groups == 1 and layer.out_channels % groups == 0
    size = layer.out_channels // groups
    channels = torch.tensor(
        [group * size + offset for group in kept for offset in range(size)],
        device=layer.weight.device,
    )
    # weights are [out, in, ...], those of a transposed convolution [in, out, ...]
    axis = 1 if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) else 0
    layer.weight = _rows(layer.weight, axis, channels)
    if layer.bias is not None:
        layer.bias = _rows(layer.bias, 0, channels)
    layer.out_channels = len(channels)


def _rows(parameter: torch.Tensor, axis: int, channels: torch.Tensor) -> nn.Parameter:
    chosen = parameter.detach().index_select(axis, channels)
    return nn.Parameter(chosen, requires_grad=parameter.requires_grad)
