import pytest
import torch

from mss.nn.dconv import DConv, DConvOptions


@pytest.mark.parametrize("lstm", [False, True])
@pytest.mark.parametrize("attention", [False, True])
def test_layer_scale_gates_the_branch(lstm: bool, attention: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 20)
    off = DConv(16, DConvOptions(init=0.0, lstm=lstm, attention=attention))
    torch.testing.assert_close(off(x), x, rtol=0, atol=0)
    on = DConv(16, DConvOptions(init=1.0, lstm=lstm, attention=attention))
    assert (on(x) - x).abs().mean() > 0.05


@pytest.mark.parametrize(("depth", "dilations"), [(3, [1, 2, 4]), (-3, [1, 1, 1])])
def test_dilation_doubles_unless_depth_is_negative(depth: int, dilations: list[int]) -> None:
    layer = DConv(8, DConvOptions(depth=depth))
    assert [block[0].dilation[0] for block in layer.layers] == dilations
    assert layer(torch.zeros(1, 8, 5)).shape == (1, 8, 5)


def test_a_block_equals_its_parts() -> None:
    torch.manual_seed(0)
    layer = DConv(8, DConvOptions(depth=1, compress=2, init=0.3))
    conv, norm1, _, expand, norm2, _, scale = layer.layers[0]
    x = torch.randn(2, 8, 10)

    def normalise(y: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
        mean = y.mean(dim=(1, 2), keepdim=True)
        var = y.var(dim=(1, 2), keepdim=True, correction=0)
        return (y - mean) / (var + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]

    y = normalise(conv(x), norm1)
    y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
    value, gate = normalise(expand(y), norm2).chunk(2, dim=1)
    expected = x + scale.scale[:, None] * value * gate.sigmoid()
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(scale.scale, torch.full((8,), 0.3))
