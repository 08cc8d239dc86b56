"""Learnt embeddings of positions."""

import torch
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
