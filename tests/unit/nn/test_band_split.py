import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mss.nn.band_split import BandMask, BandSplit

APART = [(0, 2), (2, 4), (4, 6), (6, 10), (10, 11)]
OVERLAPPING = [(0, 3), (1, 4), (3, 6), (4, 9), (7, 11)]
BANDS = pytest.mark.parametrize("bands", [APART, OVERLAPPING], ids=["apart", "overlapping"])


def vary(module: nn.Module) -> None:
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter))


@BANDS
def test_split_normalises_and_projects_each_band_alone(bands: list[tuple[int, int]]) -> None:
    split = BandSplit(7, bands, per_bin=4)
    vary(split)
    x = torch.randn(2, 3, 44)
    tokens = split(x)
    assert tokens.shape == (2, 3, 5, 7)
    for index, (start, stop) in enumerate(bands):
        norm, linear = split.to_features[index]
        band = x[..., 4 * start : 4 * stop]
        expected = linear(F.rms_norm(band, band.shape[-1:], norm.gamma, eps=0.0))
        torch.testing.assert_close(tokens[:, :, index], expected)


def test_split_batches_neighbours_of_equal_width() -> None:
    split = BandSplit(7, APART, per_bin=4)
    assert split.groups == [slice(0, 3), slice(3, 4), slice(4, 5)]


@BANDS
@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_mask_is_the_mean_over_the_bands_of_a_bin(
    bands: list[tuple[int, int]], hidden_layers: int
) -> None:
    estimator = BandMask(7, bands, per_bin=4, hidden=9, hidden_layers=hidden_layers)
    vary(estimator)
    x = torch.randn(2, 3, 5, 7)
    total, count = torch.zeros(2, 3, 44), torch.zeros(44)
    for index, (start, stop) in enumerate(bands):
        total[..., 4 * start : 4 * stop] += estimator.to_freqs[index](x[:, :, index])
        count[4 * start : 4 * stop] += 1
    torch.testing.assert_close(estimator(x), total / count)


@BANDS
def test_batched_bands_give_the_same(bands: list[tuple[int, int]]) -> None:
    """The form for other devices than a CPU."""
    estimator = BandMask(7, bands, per_bin=4, hidden=9, hidden_layers=2)
    vary(estimator)
    x = torch.randn(2, 3, 5, 7)
    one_by_one, batched = estimator._one_by_one(x), estimator._batched(x)
    assert len(one_by_one) == len(batched) == 5
    for got, expected in zip(batched, one_by_one, strict=True):
        torch.testing.assert_close(got, expected)
