import torch

from mss.nn.embedding import ScaledEmbedding


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
