from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mss.nn.subbands import BandLayout, BandLinear, BandMasks, BandSplit

# widths 2, 3, 2, 3, 5: neighbours differ, so that groups have to be gathered
LAYOUT = BandLayout((0, 2, 5, 7, 10, 15))


def bands_of(layout: BandLayout, width: int) -> list[int]:
    return layout.groups[width]


def test_groups_hold_every_band_and_bin_once() -> None:
    assert LAYOUT.widths == (2, 3, 2, 3, 5)
    assert LAYOUT.groups == {2: [0, 2], 3: [1, 3], 5: [4]}
    assert sorted(LAYOUT.grouped_bands) == list(range(5))
    assert LAYOUT.grouped_bins == [0, 1, 5, 6, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("norm", [False, True])
def test_band_linear_is_a_linear_layer_a_band(norm: bool) -> None:
    torch.manual_seed(0)
    layer = BandLinear(3, 6, 4, norm=norm)
    x = torch.randn(3, 5, 6)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        got = layer(x)
        for band in range(3):
            row = x[band]
            if norm:
                assert layer.norm_weight is not None and layer.norm_bias is not None
                row = F.layer_norm(
                    row, (6,), layer.norm_weight[band, :, 0], layer.norm_bias[band, 0]
                )
            expected = F.linear(row, layer.weight[band].t(), layer.bias[band, 0])
            torch.testing.assert_close(got[band], expected)


def touched(before: Tensor, after: Tensor, axis: int) -> list[int]:
    """Indices along an axis where two tensors differ."""
    others = [other for other in range(before.dim()) if other != axis]
    return (before != after).any(dim=others[0]).any(dim=others[1] - 1).nonzero().flatten().tolist()


@pytest.mark.parametrize("parts", [1, 2])
@torch.no_grad()
def test_each_bin_reaches_its_band_only(parts: int) -> None:
    torch.manual_seed(0)
    split = BandSplit(LAYOUT, parts, features=4)
    x = torch.randn(3, parts, 15)
    before = split(x)
    assert before.shape == (5, 3, 4)
    for band, (start, stop) in enumerate(pairwise(LAYOUT.edges)):
        for index in range(start, stop):
            changed = x.clone()
            changed[:, :, index] += 1
            assert touched(before, split(changed), axis=0) == [band]


@pytest.mark.parametrize("parts", [1, 2])
@torch.no_grad()
def test_each_band_reaches_its_bins_only(parts: int) -> None:
    torch.manual_seed(0)
    masks = BandMasks(LAYOUT, parts, features=4, hidden=8, layers=2)
    x = torch.randn(5, 3, 4)
    before = masks(x)
    assert before.shape == (3, 15, parts)
    for band, (start, stop) in enumerate(pairwise(LAYOUT.edges)):
        changed = x.clone()
        changed[band] = torch.randn(3, 4)
        assert touched(before, masks(changed), axis=1) == list(range(start, stop))


@torch.no_grad()
def test_bins_of_a_band_keep_their_order() -> None:
    masks = BandMasks(LAYOUT, 1, features=4, hidden=8, layers=1)
    for layer, width in zip(masks.layers, LAYOUT.groups, strict=True):
        layer.weight.zero_()
        for place, band in enumerate(bands_of(LAYOUT, width)):
            layer.bias[place, 0] = torch.arange(*LAYOUT.edges[band : band + 2])
    got = torch.logit(masks(torch.randn(5, 2, 4)).double())[..., 0]
    torch.testing.assert_close(
        got[0], torch.arange(15, dtype=torch.float64), rtol=0, atol=0.5
    )  # a float32 sigmoid has few digits left near 1
