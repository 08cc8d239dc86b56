import math

import pytest
import torch

from mss.nn.embedding import ScaledEmbedding, sinusoidal_grid, sinusoidal_positions


def test_one_adam_step_moves_the_vectors_scale_times_as_far() -> None:
    layer = ScaledEmbedding(4, 3, scale=10)
    before = layer().detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    layer().sum().backward()
    optimizer.step()
    torch.testing.assert_close(before - layer().detach(), torch.full((4, 3), 0.1))


def test_vectors_have_unit_variance() -> None:
    torch.manual_seed(0)
    for smooth in (False, True):
        vectors = ScaledEmbedding(50, 20_000, smooth=smooth)().detach()
        torch.testing.assert_close(vectors.std(dim=1), torch.ones(50), atol=0.03, rtol=0)


def test_smooth_neighbours_are_alike() -> None:
    torch.manual_seed(0)

    def likeness(smooth: bool) -> float:
        vectors = ScaledEmbedding(50, 2000, smooth=smooth)().detach()
        return torch.cosine_similarity(vectors[20:-1], vectors[21:], dim=1).mean().item()

    assert likeness(True) > 0.95
    assert abs(likeness(False)) < 0.1


def test_sinusoidal_positions_follow_their_formula() -> None:
    table = sinusoidal_positions(50, 8, 100.0, torch.device("cpu"))
    assert table.shape == (50, 8)
    for step in (0, 1, 17, 49):
        for index in range(4):
            angle = step / 100 ** (index / 3)
            assert table[step, index].item() == pytest.approx(math.cos(angle), abs=1e-5)
            assert table[step, 4 + index].item() == pytest.approx(math.sin(angle), abs=1e-5)


def test_shifted_positions_are_the_later_rows() -> None:
    cpu = torch.device("cpu")
    late = sinusoidal_positions(10, 8, 100.0, cpu, shift=torch.tensor(7))
    torch.testing.assert_close(late, sinusoidal_positions(17, 8, 100.0, cpu)[7:])


def test_sinusoidal_grid_tells_frame_and_bin() -> None:
    table = sinusoidal_grid(6, 5, 8, 100.0, torch.device("cpu")).view(6, 5, 8)
    for frame in (0, 3, 5):
        for bin_ in (0, 1, 4):
            for index in range(2):
                rate = 100 ** (-index / 2)
                expected = [
                    (0, math.sin(frame * rate)),
                    (1, math.cos(frame * rate)),
                    (4, math.sin(bin_ * rate)),
                    (5, math.cos(bin_ * rate)),
                ]
                for place, value in expected:
                    got = table[frame, bin_, 2 * index + place].item()
                    assert got == pytest.approx(value, abs=1e-5)
