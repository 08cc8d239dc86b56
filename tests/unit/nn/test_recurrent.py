import pytest
import torch

from mss.nn.recurrent import SpanBLSTM


def plain(layer: SpanBLSTM, x: torch.Tensor) -> torch.Tensor:
    """The layer without its residual connection on one span [C, T]."""
    y: torch.Tensor = layer.linear(layer.lstm(x.t()[:, None])[0])
    return y[:, 0].t()


@pytest.mark.parametrize("steps", [1, 7, 8])
def test_short_sequences_are_run_whole(steps: int) -> None:
    torch.manual_seed(0)
    layer = SpanBLSTM(3, span=8)
    x = torch.randn(2, 3, steps)
    expected = torch.stack([item + plain(layer, item) for item in x])
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("steps", [9, 12, 16, 17, 31])
def test_each_step_comes_from_the_span_it_is_most_central_in(steps: int) -> None:
    torch.manual_seed(0)
    layer = SpanBLSTM(3, span=8)
    x = torch.randn(2, 3, steps)
    expected = torch.empty_like(x)
    for item in range(2):
        padded = torch.cat([x[item], torch.zeros(3, 8)], dim=-1)
        for step in range(steps):
            # spans start every 4 steps; the inner half of span k is steps 4k + 2 .. 4k + 5
            start = max(0, (step - 2) // 4 * 4)
            y = plain(layer, padded[:, start : start + 8])
            expected[item, :, step] = x[item, :, step] + y[:, step - start]
    torch.testing.assert_close(layer(x), expected)


def test_without_a_span_the_sequence_is_never_split() -> None:
    torch.manual_seed(0)
    layer = SpanBLSTM(3, span=None)
    x = torch.randn(1, 3, 300)
    torch.testing.assert_close(layer(x)[0], x[0] + plain(layer, x[0]))


def test_without_its_residual_connection() -> None:
    torch.manual_seed(0)
    with_input, alone = SpanBLSTM(3, span=8), SpanBLSTM(3, span=8, residual=False)
    alone.load_state_dict(with_input.state_dict())
    for steps in (5, 21):
        x = torch.randn(2, 3, steps)
        torch.testing.assert_close(alone(x) + x, with_input(x))


@pytest.mark.parametrize(("span", "steps"), [(4, 5), (4, 23), (12, 13), (12, 36), (12, 37)])
def test_spans_of_a_stacked_lstm_in_double_precision(span: int, steps: int) -> None:
    """Which span a step is taken from, written as the nearest centre; a batch changes nothing."""
    torch.manual_seed(0)
    layer = SpanBLSTM(3, layers=3, span=span, residual=False).double()
    x = torch.randn(4, 3, steps, dtype=torch.float64)
    starts = range(0, steps, span // 2)
    padded = torch.cat([x, torch.zeros(4, 3, span, dtype=torch.float64)], dim=-1)
    expected = torch.empty_like(x)
    for item in range(4):
        of_span = {start: plain(layer, padded[item, :, start : start + span]) for start in starts}
        for step in range(steps):
            # half a step beside the centre of an even span: no two centres are equally near
            start = min(starts, key=lambda start: abs(step + 0.5 - (start + span / 2)))
            expected[item, :, step] = of_span[start][:, step - start]
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer(x[2:3]), expected[2:3], atol=1e-12, rtol=0)


def test_gradients_reach_every_step_and_weight() -> None:
    torch.manual_seed(0)
    layer = SpanBLSTM(3, span=8)
    x = torch.randn(2, 3, 21, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
