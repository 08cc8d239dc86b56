import math

import pytest
import torch

from mss.nn.rotary import rotary_frequencies, rotary_table, rotate, split_pairs


def by_definition(x: torch.Tensor) -> torch.Tensor:
    """Turn pairs of neighbours of [L, d] as complex numbers, in double precision."""
    length, dim = x.shape
    theta = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * theta
    turned = torch.view_as_complex(x.double().view(length, -1, 2)) * torch.exp(1j * angle)
    return torch.view_as_real(turned).flatten(1)


def test_frequencies() -> None:
    theta = rotary_frequencies(64)
    assert theta.shape == (32,)
    assert theta[0] == 1
    assert theta[16].item() == pytest.approx(0.01)  # half of the way, geometrically


@pytest.mark.parametrize("heads", [1, 3])
def test_turns_pairs_of_neighbours_of_every_head(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, heads * 8, generator=generator)
    # rows of a projection are reordered: here the projection is the identity
    reordered = x @ split_pairs(torch.eye(heads * 8)).T
    got = rotate(reordered, rotary_table(5, 8, heads, "cpu"), heads)
    assert got.shape == (5, heads, 8)
    for head in range(heads):
        expected = by_definition(x[:, 8 * head : 8 * (head + 1)]).float()
        # even features first
        expected = torch.cat([expected[:, ::2], expected[:, 1::2]], dim=1)
        torch.testing.assert_close(got[:, head], expected, rtol=0, atol=1e-6)


def test_scores_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    table = rotary_table(30, 16, 1, "cpu")
    turned_query = rotate(query.expand(30, 16), table, 1)[:, 0]
    turned_key = rotate(key.expand(30, 16), table, 1)[:, 0]
    scores = turned_query @ turned_key.T
    for distance in (-7, 0, 4):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert (scores[0] - scores[0, 0]).abs().max() > 0.1


def test_angles_keep_their_digits_under_autocast() -> None:
    exact = rotary_table(900, 8, 2, "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        table = rotary_table(900, 8, 2, "cpu")
    assert table[0].dtype == torch.float32
    assert torch.equal(table[0], exact[0])
    assert table[1][899, 0].item() == pytest.approx(math.sin(899), abs=1e-4)
    assert rotate(torch.ones(900, 16).bfloat16(), exact, 2).dtype == torch.bfloat16
