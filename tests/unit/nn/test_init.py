import pytest
import torch
from torch import nn

from mss.nn.init import rescale_convolutions


def test_spread_goes_half_of_the_way_on_a_log_scale() -> None:
    module = nn.Sequential(nn.Conv1d(8, 8, 3), nn.ConvTranspose2d(4, 4, 2), nn.Linear(8, 8))
    spreads = [layer.weight.std().item() for layer in module]
    bias = module[0].bias.detach().clone()
    rescale_convolutions(module, 0.1)
    for layer, spread in zip(module[:2], spreads, strict=False):
        assert layer.weight.std().item() == pytest.approx((spread * 0.1) ** 0.5, rel=1e-4)
    torch.testing.assert_close(module[0].bias.detach(), bias / (spreads[0] / 0.1) ** 0.5)
    assert module[2].weight.std().item() == spreads[2], "only convolutions"


def test_a_single_weight_has_no_spread() -> None:
    layer = nn.Conv1d(1, 1, 1)
    before = layer.weight.item()
    rescale_convolutions(layer, 0.1)
    assert layer.weight.item() == before
