"""Recurrent layers over the last axis of [B, C, T]."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class SpanBLSTM(nn.Module):
    """A bidirectional LSTM and a linear layer, run over overlapping spans of the sequence.

    Spans of `span` steps start every span / 2 steps and go through the LSTM as one batch, so its
    sequential part is never longer than a span; each output step is taken from the span it lies
    most central in. Sequences up to `span` steps are run whole. (Demucs v3, arXiv 2111.03600.)

    Args:
        dim: channels, and hidden units per direction.
        layers: stacked LSTM layers.
        span: steps, a multiple of 4; None never splits.
        residual: add the input.
    """

    def __init__(
        self, dim: int, layers: int = 2, span: int | None = 200, residual: bool = True
    ) -> None:
        super().__init__()
        assert span is None or span % 4 == 0
        self.span = span
        self.residual = residual
        self.lstm = nn.LSTM(dim, dim, layers, bidirectional=True)
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        if self.span is None or x.shape[-1] <= self.span:
            y = rearrange(self._run(rearrange(x, "b c t -> t b c")), "t b c -> b c t")
        else:
            y = self._run_spans(x, self.span)
        return x + y if self.residual else y

    def _run_spans(self, x: Tensor, span: int) -> Tensor:
        """[B, C, T] -> [B, C, T]"""
        steps = x.shape[-1]
        stride, edge = span // 2, span // 4
        count = -(-steps // stride)
        padded = F.pad(x, (0, (count - 1) * stride + span - steps))
        # a span is two halves, the second of which begins the next one
        halves = rearrange(padded, "b c (n w) -> w b n c", w=stride)
        spans = torch.cat([halves[:, :, :-1], halves[:, :, 1:]])  # [span, B, count, C]
        y = self._run(rearrange(spans, "w b n c -> w (b n) c"))
        y = rearrange(y, "w (b n) c -> b c n w", n=count)
        # The first span also gives the steps before its centre; the last one's end is padding.
        head, centres = y[:, :, 0, :edge], y[..., edge:-edge].flatten(2)
        return torch.cat([head, centres], dim=-1)[..., :steps]

    def _run(self, x: Tensor) -> Tensor:
        """[T, B, C] -> [T, B, C]"""
        y: Tensor = self.linear(self.lstm(x)[0])
        return y
