import pytest
import torch
import torch.nn.functional as F

from mss.nn.sparse_subbands import (
    Band,
    ConvolutionModule,
    Fusion,
    SparseDown,
    SparseEncoderBlock,
    SparseUp,
    split_bands,
)

RATIOS, KERNELS, STRIDES = (0.175, 0.392, 0.433), (3, 4, 16), (1, 4, 16)


def test_bands_of_the_published_model() -> None:
    bands = split_bands(2049, RATIOS, KERNELS, STRIDES)
    assert [(band.start, band.stop) for band in bands] == [(0, 359), (359, 1162), (1162, 2049)]
    assert [band.padding for band in bands] == [(1, 1), (0, 1), (4, 5)]
    assert [band.bins_out for band in bands] == [359, 201, 56]


@pytest.mark.parametrize("bins", [20, 40, 257, 616])
@pytest.mark.parametrize(
    ("kernels", "strides"), [(KERNELS, STRIDES), ((5, 2, 1), (1, 1, 1)), ((4, 6, 8), (2, 3, 4))]
)
def test_bands_cover_all_bins_and_come_back(
    bins: int, kernels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    bands = split_bands(bins, RATIOS, kernels, strides)
    assert [band.start for band in bands] == [0, bands[0].stop, bands[1].stop]
    assert bands[-1].stop == bins
    torch.manual_seed(0)
    x = torch.randn(2, 3, bins, 4)
    parts = SparseDown(3, 5, bands)(x)
    assert [part.shape for part in parts] == [(2, 5, band.bins_out, 4) for band in bands]
    assert SparseUp(5, 6, bands)(torch.cat(parts, dim=2)).shape == (2, 6, bins, 4)


def test_up_puts_a_bin_back_where_down_took_it_from() -> None:
    band = Band(start=0, stop=10, kernel=4, stride=4)  # 2 zeros: one below, one above
    down, up = SparseDown(1, 1, [band]), SparseUp(1, 1, [band])
    for layer in (down.convs[0], up.convtrs[0]):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 1, 10, 1)
    x[0, 0, 3] = 1.0  # with the padding below, the first bin of the second group of four
    (part,) = down(x)
    assert part.flatten().tolist() == [0, 1, 0]
    assert up(part).flatten().tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]


def test_fusion_is_the_convolution_over_two_copies() -> None:
    torch.manual_seed(0)
    fusion = Fusion(3)
    x, skip = torch.randn(2, 2, 3, 5, 7).unbind()
    expected = F.glu(fusion.conv((x + skip).repeat(1, 2, 1, 1)), dim=1)
    torch.testing.assert_close(fusion(x, skip), expected)


def test_bins_are_refined_one_by_one_over_time() -> None:
    torch.manual_seed(0)
    module = ConvolutionModule(8, depth=2, compress=2, kernel=3)
    x = torch.randn(3, 8, 20)
    changed = x.clone()
    changed[1] += 1
    alike = (module(changed) == module(x)).flatten(1).all(dim=1)
    assert alike.tolist() == [True, False, True]
    assert torch.equal(ConvolutionModule(8, depth=0, compress=2, kernel=3)(x), x)


def test_the_skip_is_what_the_mixing_convolution_sees() -> None:
    torch.manual_seed(0)
    bands = split_bands(33, RATIOS, KERNELS, STRIDES)
    block = SparseEncoderBlock(2, 8, bands, (2, 1, 1), compress=4, kernel=3)
    mixed, skip = block(torch.randn(2, 2, 33, 6))
    assert skip.shape == mixed.shape == (2, 8, sum(band.bins_out for band in bands), 6)
    torch.testing.assert_close(block.globalconv(skip), mixed)
    assert skip.min() >= -0.18  # the lowest value of a GELU
