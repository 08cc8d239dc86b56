import pytest
import torch
from torch import Tensor

from mss.infer.flips import Flips

MIX = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(0))


def uneven(chunks: Tensor) -> Tensor:
    """Treats left and right, and both signs, differently."""
    gains = torch.linspace(0.5, 1.5, chunks.shape[1])[:, None]
    bent = (chunks * gains).exp() + chunks.roll(1, dims=1)
    return torch.stack([bent, chunks.relu() * gains], dim=1)


def swapped(audio: Tensor) -> Tensor:
    return audio[..., [1, 0], :]


def images(chunks: Tensor) -> dict[str, Tensor]:
    return {
        "as it is": uneven(chunks),
        "swapped": swapped(uneven(swapped(chunks))),
        "turned": -uneven(-chunks),
        "both": -swapped(uneven(-swapped(chunks))),
    }


@pytest.mark.parametrize(
    ("swap", "polarity", "used"),
    [
        (True, True, ["as it is", "swapped", "turned", "both"]),
        (True, False, ["as it is", "swapped"]),
        (False, True, ["as it is", "turned"]),
        (False, False, ["as it is"]),
    ],
)
def test_the_mean_over_the_images(swap: bool, polarity: bool, used: list[str]) -> None:
    expected = torch.stack([images(MIX)[name] for name in used]).mean(dim=0)
    torch.testing.assert_close(Flips(uneven, swap, polarity)(MIX), expected)


def test_the_result_knows_neither_side_nor_sign() -> None:
    both = Flips(uneven)
    torch.testing.assert_close(both(swapped(MIX)), swapped(both(MIX)))
    torch.testing.assert_close(both(-MIX), -both(MIX))


def test_one_channel_has_nothing_to_swap() -> None:
    calls = 0

    def counted(chunks: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return uneven(chunks)

    mono = MIX[:, :1]
    torch.testing.assert_close(Flips(counted)(mono), (uneven(mono) - uneven(-mono)) / 2)
    assert calls == 2


def test_a_function_may_work_in_place() -> None:
    def in_place(chunks: Tensor) -> Tensor:
        return chunks.mul_(3)[:, None]

    torch.testing.assert_close(Flips(in_place)(MIX.clone()), 3 * MIX[:, None])
