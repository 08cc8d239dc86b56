from dataclasses import replace

import pytest
import torch

from mss.nn.band_layers import BandDecoderLayer, BandEncoderLayer
from mss.nn.dconv import DConvOptions
from mss.nn.hybrid_layers import DecoderLayer, EncoderLayer, LayerOptions

TIME = LayerOptions(frequency=False, kernel=8, stride=4, padding=2)
FREQUENCY = LayerOptions(frequency=True, kernel=8, stride=4, padding=2)
DCONV = DConvOptions(compress=2, init=0.5)


@pytest.mark.parametrize("norm_groups", [None, 2])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 17])
def test_time_layers_round_up_and_come_back(norm_groups: int | None, length: int) -> None:
    options = replace(TIME, norm_groups=norm_groups)
    encoded = EncoderLayer(2, 4, options)(torch.randn(3, 2, length))
    assert encoded.shape == (3, 4, -(-length // 4))
    decoded, refined = DecoderLayer(4, 2, options)(encoded, encoded, length)
    assert decoded.shape == (3, 2, length)
    assert refined.shape == encoded.shape


def test_frequency_layers_stride_over_bins_alone() -> None:
    options = replace(FREQUENCY, norm_groups=2, context=1, dconv=DCONV)
    encoded = EncoderLayer(2, 4, options)(torch.randn(3, 2, 32, 5))
    assert encoded.shape == (3, 4, 8, 5)
    decoded, _ = DecoderLayer(4, 2, options)(encoded, None, 32)
    assert decoded.shape == (3, 2, 32, 5)


def test_without_padding_an_axis_of_the_kernels_size_collapses() -> None:
    options = replace(FREQUENCY, padding=0)
    encoded = EncoderLayer(2, 4, options)(torch.randn(1, 2, 8, 5))
    assert encoded.shape == (1, 4, 1, 5)
    assert DecoderLayer(4, 2, options)(encoded, None, 8)[0].shape == (1, 2, 8, 5)


def test_a_norm_counts_what_padding_would_have_cut() -> None:
    torch.manual_seed(0)
    plain = DecoderLayer(4, 2, replace(TIME, rewrite=False), last=True)
    normed = DecoderLayer(4, 2, replace(TIME, rewrite=False, norm_groups=1), last=True)
    normed.conv_tr.load_state_dict(plain.conv_tr.state_dict())
    x = torch.randn(1, 4, 6)
    whole = torch.nn.functional.conv_transpose1d(
        x, plain.conv_tr.weight, plain.conv_tr.bias, stride=4
    )
    torch.testing.assert_close(plain(x, None, 24)[0], whole[..., 2:26])
    torch.testing.assert_close(
        normed(x, None, 24)[0], torch.nn.functional.group_norm(whole, 1)[..., 2:26]
    )


def test_residual_branch_sees_each_bin_alone() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(2, 4, replace(FREQUENCY, rewrite=False, dconv=DCONV))
    assert layer.dconv is not None
    x = torch.randn(2, 2, 32, 5)
    inner = torch.nn.functional.gelu(layer.conv(x))
    expected = torch.stack([layer.dconv(inner[:, :, f]) for f in range(8)], dim=2)
    torch.testing.assert_close(layer(x), expected)


def test_inject_adds_after_the_convolution() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(2, 4, replace(FREQUENCY, padding=0, rewrite=False))
    x, inject = torch.randn(1, 2, 8, 5), torch.randn(1, 4, 5)
    expected = torch.nn.functional.gelu(layer.conv(x) + inject[:, :, None])
    torch.testing.assert_close(layer(x, inject), expected)


@pytest.mark.parametrize("ratios", [(0.5,), (0.3, 0.6), (0.1, 0.2, 0.9)])
def test_bands_of_equal_weights_are_one_layer(ratios: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    options = replace(FREQUENCY, context=1, context_frequency=False, dconv=DCONV)
    plain, bands = EncoderLayer(2, 4, options), BandEncoderLayer(2, 4, options, ratios)
    for layer in bands.layers:
        layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 64, 5)
    torch.testing.assert_close(bands(x), plain(x))

    for last in (False, True):
        up, bands_up = (
            DecoderLayer(4, 2, options, last),
            BandDecoderLayer(4, 2, options, ratios, last),
        )
        for layer in bands_up.layers:
            layer.load_state_dict(up.state_dict())
        y, skip = torch.randn(2, 2, 4, 16, 5)
        for expected, got in zip(up(y, skip, 64), bands_up(y, skip, 64), strict=True):
            torch.testing.assert_close(got, expected)


def test_bands_have_weights_of_their_own() -> None:
    torch.manual_seed(0)
    bands = BandEncoderLayer(1, 2, FREQUENCY, (0.5,))
    x = torch.randn(1, 1, 64, 3)
    before = bands(x)
    with torch.no_grad():
        bands.layers[1].conv.bias.add_(1)
    changed = (bands(x) - before).abs().amax(dim=(0, 1, 3)) > 0
    assert changed.tolist() == [False] * 8 + [True] * 8
