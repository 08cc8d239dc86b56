import torch
import torch.nn.functional as F

from mss.nn.rotary import rotary_table
from mss.nn.rotary_transformer import FeedForward, RMSNorm, RotaryAttention, RotaryTransformer


def test_norm_gives_rms_gamma_and_keeps_silence() -> None:
    norm = RMSNorm(12)
    with torch.no_grad():
        norm.gamma.copy_(torch.arange(12.0))
    x = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    expected = F.rms_norm(x, (12,), norm.gamma, eps=0.0)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(1e-4 * x), expected)  # no epsilon is added
    silent = torch.zeros(2, 12, requires_grad=True)
    norm(silent).sum().backward()
    assert torch.equal(norm(silent), torch.zeros(2, 12))
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_norm_measures_half_precision_in_float() -> None:
    norm = RMSNorm(4096)
    x = torch.ones(4096).bfloat16()
    assert norm.normalise(x).dtype == torch.bfloat16
    # a running sum of ones in bfloat16 would stop at 256
    assert norm.normalise(x)[0].item() == 1


def test_attention_is_softmax_of_turned_scores_with_gated_heads() -> None:
    torch.manual_seed(0)
    dim, heads, dim_head, length = 10, 2, 4, 6
    layer = RotaryAttention(dim, heads, dim_head, dropout=0.0).double()
    x = torch.randn(1, length, dim, dtype=torch.float64)
    table = rotary_table(length, dim_head, 2 * heads, "cpu")

    y = layer.norm(x)[0]
    query, key, value = (y @ layer.to_qkv.weight.T).view(length, 3, heads, dim_head).unbind(1)
    theta = torch.tensor([1.0, 0.01], dtype=torch.float64)
    turn = torch.exp(1j * torch.arange(length, dtype=torch.float64)[:, None, None] * theta)
    query, key = (
        torch.view_as_real(torch.view_as_complex(z.reshape(length, heads, 2, 2)) * turn).flatten(2)
        for z in (query, key)
    )
    gates = layer.to_gates(y).sigmoid()
    mixed = []
    for head in range(heads):
        weights = (query[:, head] @ key[:, head].T / 2).softmax(dim=-1)
        mixed.append(weights @ value[:, head] * gates[:, head, None])
    expected = layer.to_out(torch.cat(mixed, dim=-1))
    # angles have the digits of float32
    torch.testing.assert_close(layer(x, table)[0], expected, rtol=0, atol=1e-6)


def test_layers_are_added_to_their_input() -> None:
    torch.manual_seed(0)
    model = RotaryTransformer(8, 2, heads=2, dim_head=4)
    for layer in model.modules():
        if isinstance(layer, RotaryAttention):
            layer.to_out[0].weight.data.zero_()
        if isinstance(layer, FeedForward):
            layer.net[4].weight.data.zero_()
            layer.net[4].bias.data.zero_()
    x = torch.randn(3, 5, 8)
    assert torch.equal(model(x, rotary_table(5, 4, 4, "cpu")), x)


def test_sequences_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = RotaryTransformer(8, 2, heads=2, dim_head=4, norm_output=True).eval()
    x = torch.randn(3, 5, 8)
    table = rotary_table(5, 4, 4, "cpu")
    alone = torch.cat([model(row[None], table) for row in x])
    torch.testing.assert_close(model(x, table), alone)
    torch.testing.assert_close(alone.square().mean(-1), torch.ones(3, 5))  # the norm is last
