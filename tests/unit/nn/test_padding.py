import pytest
import torch
import torch.nn.functional as F

from mss.nn.padding import pad_to_multiple, reflect_pad


def test_long_signals_are_reflected() -> None:
    x = torch.arange(10.0)[None]
    torch.testing.assert_close(reflect_pad(x, 3, 5), F.pad(x, (3, 5), mode="reflect"))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(("left", "right"), [(5, 5), (5, 2), (0, 5), (5, 0)])
def test_short_signals_keep_their_place(length: int, left: int, right: int) -> None:
    x = torch.arange(1.0, length + 1)[None]
    padded = reflect_pad(x, left, right)
    assert padded.shape[-1] == left + length + right
    assert torch.equal(padded[:, left : left + length], x)
    # nothing but zeros and reflected samples came in
    assert set(padded.unique().tolist()) <= {0.0, *x.unique().tolist()}


def test_zeros_go_to_the_right_first() -> None:
    x = torch.tensor([[1.0, 2.0]])
    # 1 2 0 0 reflects far enough on both sides
    assert reflect_pad(x, 3, 3).tolist() == [[0, 0, 2, 1, 2, 0, 0, 0]]
    # one zero fits on the right, so another comes from the left: 0 1 2 0
    assert reflect_pad(x, 3, 1).tolist() == [[2, 1, 0, 1, 2, 0]]


@pytest.mark.parametrize(("length", "expected"), [(1, 4), (4, 4), (5, 8)])
def test_pad_to_multiple(length: int, expected: int) -> None:
    padded = pad_to_multiple(torch.ones(2, length), 4)
    assert padded.shape == (2, expected)
    assert padded.sum() == 2 * length
