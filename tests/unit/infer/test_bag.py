import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.bag import Bag

SPEC = AudioSpec(("vocals", "other"), samplerate=1000, channels=1)
MIX = torch.randn(2, 1, 50, generator=torch.Generator().manual_seed(0))


def constant(vocals: float, other: float) -> ChunkFn:
    def chunk_fn(chunks: Tensor) -> Tensor:
        return torch.stack([vocals * chunks, other * chunks], dim=1)

    return chunk_fn


def never(chunks: Tensor) -> Tensor:
    raise AssertionError(f"a member without weight was run on {tuple(chunks.shape)}")


def test_equal_weights_are_the_mean() -> None:
    out = Bag([constant(1, 10), constant(3, 20)], [SPEC, SPEC])(MIX)
    torch.testing.assert_close(out, constant(2, 15)(MIX))


def test_weights_are_normalised_per_source() -> None:
    bag = Bag([constant(1, 10), constant(5, 20)], [SPEC, SPEC], [[3, 0], [1, 0.5]])
    # vocals: (3 * 1 + 1 * 5) / 4; other: from the second member alone
    torch.testing.assert_close(bag(MIX), constant(2, 20)(MIX))


def test_a_member_without_weight_is_not_run() -> None:
    bag = Bag([constant(1, 2), never], [SPEC, SPEC], [[1, 1], [0, 0]])
    assert torch.equal(bag(MIX), constant(1, 2)(MIX))


def test_members_outputs_are_left_alone() -> None:
    kept = constant(1, 2)(MIX)
    copy = kept.clone()
    Bag([lambda _: kept, constant(3, 4)], [SPEC, SPEC])(MIX)
    assert torch.equal(kept, copy)


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (AudioSpec(("other", "vocals"), 1000, 1), "sources"),
        (AudioSpec(("vocals", "other"), 2000, 1), "samplerate"),
        (AudioSpec(("vocals", "other"), 1000, 2), "channels"),
    ],
)
def test_members_must_agree(other: AudioSpec, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"member 1 has {field}"):
        Bag([never, never], [SPEC, other])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1, 1]], "1 rows for 2 members"),
        ([[1, 1], [1]], "member 1 has 1 weights"),
        ([[1, -1], [1, 1]], "0 or more"),
        ([[1, float("nan")], [1, 1]], "0 or more"),
        ([[1, 0], [1, 0]], "no member has a weight for 'other'"),
    ],
)
def test_wrong_weights(weights: list[list[float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bag([never, never], [SPEC, SPEC], weights)


def test_an_empty_bag() -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        Bag([], [])
