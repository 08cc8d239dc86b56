"""Initial weights."""

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d, nn.ConvTranspose2d)


@torch.no_grad()
def rescale_convolutions(module: nn.Module, reference: float) -> None:
    """Pull the spread of every convolution's initial weights towards `reference`.

    Weights and bias are divided by sqrt(std / reference), which takes the standard deviation half
    of the way on a logarithmic scale (Demucs, arXiv 1911.13254, section 4.5).
    """
    for layer in module.modules():
        if isinstance(layer, _CONVOLUTIONS) and layer.weight.numel() > 1:
            scale = (layer.weight.std() / reference) ** 0.5
            layer.weight.div_(scale)
            if layer.bias is not None:
                layer.bias.div_(scale)
