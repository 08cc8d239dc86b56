"""Embeddings of positions, learnt and sinusoidal."""

import math

import torch
from einops import repeat
from torch import Tensor, nn


class ScaledEmbedding(nn.Module):
    """A table of vectors whose effective learning rate is `scale` times the optimiser's.

    The stored weights are `scale` times smaller than the vectors, so under Adam, whose steps do not
    depend on the size of gradients, the vectors move `scale` times as fast.

    Args:
        size: number of positions.
        dim: length of a vector.
        scale: see above.
        smooth: start from a random walk over the positions (of unit variance everywhere), so that
            neighbours are alike, instead of from independent vectors.
    """

    def __init__(self, size: int, dim: int, scale: float = 10.0, smooth: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.embedding = nn.Embedding(size, dim)
        with torch.no_grad():
            weight = self.embedding.weight
            if smooth:
                # a sum of n independent unit normals has variance n
                steps = torch.arange(1, size + 1, device=weight.device, dtype=weight.dtype)
                weight.copy_(weight.cumsum(dim=0) / steps.sqrt()[:, None])
            weight.div_(scale)

    def forward(self) -> Tensor:
        """Return the vectors of all positions, [size, dim]."""
        return self.embedding.weight * self.scale


def sinusoidal_positions(
    steps: int,
    dim: int,
    max_period: float,
    device: torch.device,
    shift: Tensor | None = None,
) -> Tensor:
    """Return cos(t / p_i) of all i, then sin(t / p_i), for t = shift + 0, 1, ...: [steps, dim].

    The periods / 2 pi are p_i = max_period^(i / (dim / 2 - 1)), i = 0 .. dim / 2 - 1, both ends
    included, as HTDemucs orders and spaces them. Always float32.

    Args:
        steps: number of positions.
        dim: even, at least 4.
        max_period: see above, steps.
        device: of the result.
        shift: a scalar; None: 0.
    """
    half = dim // 2
    time = torch.arange(steps, device=device)
    if shift is not None:
        time = time + shift.to(device)
    order = torch.arange(half, device=device)
    angle = time[:, None] / max_period ** (order / (half - 1))
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def sinusoidal_grid(
    frames: int, bins: int, dim: int, max_period: float, device: torch.device
) -> Tensor:
    """Return positions on a spectrogram's grid, [frames * bins, dim], frame by frame.

    The first half of a vector tells the frame, the second the bin: sin(n / p_0), cos(n / p_0),
    sin(n / p_1), ... with p_i = max_period^(4 i / dim). Always float32.

    Args:
        frames, bins: size of the grid.
        dim: a multiple of 4.
        max_period: see above.
        device: of the result.
    """
    half = dim // 2
    rate = torch.exp(torch.arange(0.0, half, 2, device=device) * (-math.log(max_period) / half))

    def interleaved(count: int) -> Tensor:
        angle = torch.arange(float(count), device=device)[:, None] * rate
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    of_frame = repeat(interleaved(frames), "n d -> (n f) d", f=bins)
    of_bin = repeat(interleaved(bins), "f d -> (n f) d", n=frames)
    return torch.cat([of_frame, of_bin], dim=-1)
