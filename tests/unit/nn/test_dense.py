"""The dense blocks against their definition with every earlier output kept and concatenated."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mss.nn.dense import BranchOptions, D2Block, D3Block, MultiScaleBranch


def vary(module: nn.Module) -> Any:
    """Move norms and their statistics away from neutral, and evaluate."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dim() == 1:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return module.eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def norm_relu(norm: Any, x: Tensor) -> Tensor:
    return F.relu(
        F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    )


def dense_of(block: Any, x: Tensor, layers: int, convolve: Any) -> Tensor:
    """Chunk j is the sum of what the initial layer and every earlier chunk contribute to it.

    With weights per pair of chunks, this is a dense layer on the concatenation of all earlier ones.
    """
    growth = block.growth
    chunks: list[Tensor] = []
    for j in range(layers):
        total = convolve(block.initial, x, slice(j * growth, (j + 1) * growth), 0)
        for i in range(j):
            place = j - i - 1
            channels = slice(place * growth, (place + 1) * growth)
            total = total + convolve(block.layers[i], chunks[i], channels, i + 1)
        chunks.append(total)
    return chunks[-1]


def norm_conv(layer: Any, x: Tensor, channels: slice, level: int) -> Tensor:
    """Some output channels of batch norm, ReLU and a 3x3 convolution with dilation 2^level."""
    norm, _, conv = layer
    y = norm_relu(norm, x)
    dilation = 2**level
    padded = F.pad(y, (dilation,) * 4)
    bins, frames = x.shape[2:]
    out = conv.bias[channels][:, None, None].expand(len(x), -1, bins, frames)
    for row in range(3):
        for column in range(3):
            tap = conv.weight[channels, :, row, column]
            seen = padded[:, :, row * dilation :, column * dilation :][:, :, :bins, :frames]
            out = out + torch.einsum("oi,bifn->bofn", tap, seen)
    return out


@pytest.mark.parametrize("layers", [1, 2, 4])
@torch.no_grad()
def test_d2_is_its_formula(layers: int) -> None:
    torch.manual_seed(0)
    block = vary(D2Block(5, 3, layers))
    x = torch.randn(2, 5, 12, 17)
    torch.testing.assert_close(block(x), dense_of(block, x, layers, norm_conv))


@pytest.mark.parametrize("blocks", [1, 3])
@torch.no_grad()
def test_d3_is_the_same_one_level_up(blocks: int) -> None:
    torch.manual_seed(0)
    block = vary(D3Block(5, 3, 2, blocks))
    x = torch.randn(2, 5, 12, 17)

    def d2(layer: Any, x: Tensor, channels: slice, level: int) -> Tensor:
        return dense_of(layer, x, 2, norm_conv)[:, channels]

    torch.testing.assert_close(block(x), dense_of(block, x, blocks, d2))


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_receptive_field(layers: int) -> None:
    block = vary(D2Block(2, 3, layers)).double()
    size = 2 ** (layers + 1) + 7
    x = torch.randn(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    block(x)[..., size // 2, size // 2].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1)) > 0
    for axis in (0, 1):
        assert int(seen.any(dim=axis).sum()) == 2 ** (layers + 1) - 1


def test_parameters_of_a_d2_block() -> None:
    # norm, weights and bias of 8 -> 3 * 5, then of 3 -> 12, 9, 6 and 3
    convolutions = [(8, 15), (3, 12), (3, 9), (3, 6), (3, 3)]
    expected = sum(2 * i + 9 * i * o + o for i, o in convolutions)
    assert parameters(D2Block(8, 3, 5)) == expected


def test_branch_halves_and_restores_the_resolution() -> None:
    torch.manual_seed(0)
    options = BranchOptions(features=4, growth=(3, 4, 5, 4, 2), layers=(2,) * 5, blocks=2)
    assert options.levels == 2 and options.outputs == 2
    branch = vary(MultiScaleBranch(2, options))
    sizes: list[tuple[int, ...]] = []
    for block in (*branch.down, branch.bottom, *branch.up):
        block.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape)))
    assert branch(torch.randn(1, 2, 8, 12)).shape == (1, 2, 8, 12)
    assert sizes == [(1, 3, 8, 12), (1, 4, 4, 6), (1, 5, 2, 3), (1, 4, 4, 6), (1, 2, 8, 12)]


@torch.no_grad()
def test_branch_is_its_formula() -> None:
    torch.manual_seed(0)
    branch = vary(MultiScaleBranch(2, BranchOptions(4, (3, 5, 2), (2, 2, 2), 1)))
    x = torch.randn(1, 2, 8, 12)
    fine = branch.down[0](branch.features(x))
    coarse = fine.reshape(1, 3, 4, 2, 6, 2).mean(dim=(3, 5))
    deep = branch.bottom(coarse)
    norm, transposed = branch.upsample[0]
    weight, bias = transposed.weight, transposed.bias  # i o 2 2
    up = torch.einsum("bifn,ioxy->bofxny", norm(deep), weight).reshape(1, 5, 8, 12)
    expected = branch.up[0](torch.cat([up + bias[:, None, None], fine], dim=1))
    torch.testing.assert_close(branch(x), expected)
