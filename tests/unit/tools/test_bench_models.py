"""The table of architectures: its arithmetic is counted rightly, its rows can be built."""

import pytest
import torch
from torch import nn

from mss.core.registry import names
from tools import bench, bench_flops, bench_models
from tools.bench_peers import MODEL_PEERS


class OneOfEach(nn.Module):
    """A convolution, an LSTM of two layers and directions, and attention, of known cost."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 8, 5, padding=2, bias=False)
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        x = self.conv(mix).transpose(1, 2)  # [B, T, 8]
        x, _ = self.lstm(x)  # [B, T, 32]
        x = x.unflatten(-1, (4, 8)).transpose(1, 2)  # [B, 4 heads, T, 8]
        return nn.functional.scaled_dot_product_attention(x, x, x)


def test_arithmetic_is_counted_by_formula(monkeypatch):
    monkeypatch.setattr(bench_flops, "build_preset", lambda *_: OneOfEach().eval())
    seconds = 200 / bench_flops.RATE
    _, gflop = bench_flops.model_facts(["toy"], ("vocals",), seconds)
    frames = 200
    conv = 2 * frames * 8 * 2 * 5
    first = 2 * 2 * frames * (4 * 16 * 8 + 4 * 16 * 16)  # 2 directions
    second = 2 * 2 * frames * (4 * 16 * 32 + 4 * 16 * 16)
    attention = 2 * 4 * frames * frames * (8 + 8)
    assert gflop * 1e9 * seconds == pytest.approx(conv + first + second + attention)


def test_every_architecture_has_a_row_that_builds(repository):
    rows = bench_models.ROWS
    with torch.device("meta"):
        built = {
            type(bench_flops.build_preset([row.preset, *row.overrides], row.sources))
            for row in rows
        }
    assert len(built) == len(rows) == len(names("model", plugins=False))
    assert {row.peer for row in rows} - {None} == set(MODEL_PEERS)


def test_interval_of_the_median():
    low, high = bench_models.median_interval(
        [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    )
    assert 1.0 < low < 1.5 < high < 2.0


def test_an_unknown_row_is_an_error(capsys):
    assert bench.main(["models", "scnett"]) == 1
    assert "bench: scnett: no such row; known: demucs, " in capsys.readouterr().err
