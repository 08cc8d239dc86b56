from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mss.nn.cross_transformer import (
    CrossAttentionLayer,
    CrossTransformer,
    CrossTransformerOptions,
    MultiheadAttention,
    SelfAttentionLayer,
    TokenNorm,
)

SMALL = CrossTransformerOptions(dim=16, layers=3, heads=2, hidden_scale=2.0)


def build(options: CrossTransformerOptions = SMALL) -> CrossTransformer:
    torch.manual_seed(0)
    model = CrossTransformer(options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(0.5)
    return model.eval()


def tokens() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 5 * 3, 16, generator=generator),
        torch.randn(2, 11, 16, generator=generator),
    )


@pytest.mark.parametrize("training", [False, True])
def test_attention_equals_torch_s_own(training: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).train(training)
    nn.init.normal_(theirs.in_proj_bias)
    ours = MultiheadAttention(16, 4).train(training)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, others = torch.randn(2, 7, 16), torch.randn(2, 9, 16)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])
    torch.testing.assert_close(ours(x, others), theirs(x, others, others)[0])


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    attention = MultiheadAttention(16, 4, dropout=0.5)
    x = torch.randn(1, 7, 16)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_token_norm_is_a_group_norm_of_one_group() -> None:
    torch.manual_seed(0)
    ours, theirs = TokenNorm(8), nn.GroupNorm(1, 8)
    with torch.no_grad():
        nn.init.normal_(theirs.weight)
        nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = 3 * torch.randn(2, 5, 8) + 1
    torch.testing.assert_close(ours(x), theirs(x.mT).mT)


@pytest.mark.parametrize("cross_first", [False, True])
def test_every_second_layer_looks_across(cross_first: bool) -> None:
    model = build(replace(SMALL, cross_first=cross_first))
    kinds = [SelfAttentionLayer, CrossAttentionLayer, SelfAttentionLayer]
    if cross_first:
        kinds = [CrossAttentionLayer, SelfAttentionLayer, CrossAttentionLayer]
    assert [type(layer) for layer in model.layers] == kinds
    assert [type(layer) for layer in model.layers_t] == kinds


def test_branches_meet_in_cross_attention_alone() -> None:
    grid, wave = tokens()
    for layers, meet in ((1, False), (2, True)):
        model = build(replace(SMALL, layers=layers))
        before = model(grid, wave, frames=5)
        # the other branch is another one, this one is the same
        assert torch.equal(model(grid, wave.flip(0), frames=5)[0], before[0]) is not meet
        assert torch.equal(model(grid.flip(0), wave, frames=5)[1], before[1]) is not meet


def test_a_layer_looks_at_what_the_other_branch_was_before_it() -> None:
    model = build(replace(SMALL, layers=1, cross_first=True, norm_in=False, position_weight=0.0))
    grid, wave = tokens()
    got = model(grid, wave, frames=5)
    torch.testing.assert_close(got[0], model.layers[0](grid, wave))
    torch.testing.assert_close(got[1], model.layers_t[0](wave, grid))


def test_places_on_the_grid_matter() -> None:
    grid, wave = tokens()
    model = build(replace(SMALL, layers=1))
    as_frames_of_3, as_frames_of_5 = model(grid, wave, frames=5)[0], model(grid, wave, frames=3)[0]
    assert not torch.allclose(as_frames_of_3, as_frames_of_5, atol=1e-3)
    unplaced = build(replace(SMALL, layers=1, position_weight=0.0))
    torch.testing.assert_close(unplaced(grid, wave, frames=5), unplaced(grid, wave, frames=3))


def test_random_shifts_obey_torch_s_seed_and_stop_in_evaluation() -> None:
    grid, wave = tokens()
    model = build(replace(SMALL, random_shift=1000)).train()

    def run(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        out: tuple[Tensor, Tensor] = model(grid, wave, frames=5)
        return out

    assert torch.equal(run(1)[1], run(1)[1])
    assert not torch.equal(run(1)[1], run(2)[1])
    model.eval()
    assert torch.equal(run(1)[1], run(2)[1])
    plain = build(SMALL)
    assert torch.equal(run(1)[1], plain(grid, wave, frames=5)[1])
