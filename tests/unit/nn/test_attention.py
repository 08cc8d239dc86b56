import math

import pytest
import torch

from mss.nn.attention import LocalAttention


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_equals_the_formula_step_by_step(steps: int) -> None:
    torch.manual_seed(0)
    heads, width, decays = 2, 3, 4
    layer = LocalAttention(heads * width, heads, decays)
    with torch.no_grad():
        layer.query_decay.weight.mul_(100)
    x = torch.randn(1, heads * width, steps)
    query, key, content, decay = (
        conv(x)[0].detach().view(heads, -1, steps)
        for conv in (layer.query, layer.key, layer.content, layer.query_decay)
    )
    mixed = torch.zeros(heads, width, steps)
    for h in range(heads):
        for s in range(steps):
            slope = sum(
                (i + 1) * float(decay[h, i, s].sigmoid()) / 2 / math.sqrt(decays)
                for i in range(decays)
            )
            scores = torch.tensor(
                [
                    -100.0
                    if t == s
                    else float(query[h, :, s] @ key[h, :, t]) / math.sqrt(width)
                    - slope * abs(s - t)
                    for t in range(steps)
                ]
            )
            mixed[h, :, s] = content[h] @ scores.softmax(dim=0)
    expected = x + layer.proj(mixed.reshape(1, -1, steps))
    torch.testing.assert_close(layer(x), expected)


def test_starts_with_a_wide_view() -> None:
    layer = LocalAttention(8)
    x = torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(0))
    # sum of i sigmoid(-2) / 4 over i = 1..4, about 0.3 a step
    slope = 2.5 * layer.query_decay(x).sigmoid().mean().item()
    assert slope == pytest.approx(2.5 * 0.119, rel=0.1)
