import torch
from torch import nn

from mss.nn.tfc_tdf import DecoderLevel, EncoderLevel, TfcTdf, TfcTdfBlock, TfcTdfOptions

OPTIONS = TfcTdfOptions(
    blocks=2,
    bottleneck=4,
    scale=(2, 4),
    norm=lambda channels: nn.InstanceNorm2d(channels, affine=True),
    activation=nn.GELU,
)


def test_a_block_is_two_convolutions_with_residuals_around_the_bins_and_around_all() -> None:
    torch.manual_seed(0)
    block = TfcTdfBlock(3, 5, 8, OPTIONS)
    x = torch.randn(2, 3, 6, 8)
    given = x.clone()
    hidden = block.tfc1(x)
    expected = block.tfc2(hidden + block.tdf(hidden)) + block.shortcut(x)
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, given), "sums in place must not reach the input"


def test_the_linear_layers_see_one_frame() -> None:
    torch.manual_seed(0)
    options = TfcTdfOptions(2, 4, (2, 4), norm=lambda _: nn.Identity(), activation=nn.GELU)
    tdf = TfcTdfBlock(3, 3, 8, options).tdf
    x = torch.randn(1, 3, 6, 8)
    changed = x.clone()
    changed[0, 1, 4, 2] += 1
    differs = (tdf(changed) != tdf(x)).any(dim=-1)[0]
    assert differs.nonzero().tolist() == [[1, 4]]
    assert tdf[2].out_features == 2


def test_levels_mirror_each_other() -> None:
    torch.manual_seed(0)
    down, skip = EncoderLevel(4, 6, 8, OPTIONS)(torch.randn(2, 4, 10, 8))
    assert down.shape == (2, 6, 5, 2)
    assert skip.shape == (2, 4, 10, 8)
    up = DecoderLevel(4, 6, 8, OPTIONS)
    skips = [torch.zeros(1), skip]
    both = up(down, skips)
    assert both.shape == skip.shape
    assert len(skips) == 1, "a level takes the last skip and no other"
    assert not torch.allclose(both, up(torch.zeros_like(down), [skip]))
    assert not torch.allclose(both, up(down, [torch.zeros_like(skip)]))


def test_the_first_block_changes_the_channels() -> None:
    shapes = [block.shortcut.weight.shape[:2] for block in TfcTdf(3, 5, 8, OPTIONS).blocks]
    assert shapes == [(5, 3), (5, 5)]
