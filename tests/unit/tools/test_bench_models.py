"""The table of architectures: its arithmetic is counted rightly, its rows can be built."""

import json

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


def result(preset: str, rate: float) -> bench_models.ModelResult:
    return bench_models.ModelResult(preset, 4, 6.0, 1, 1.0, rate, rate, 1.0)


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Return the file in which rows are kept."""
    monkeypatch.setattr(bench_models, "OUT", tmp_path / "models.json")
    return tmp_path / "models.json"


def stored(out) -> dict[str, float]:
    return {row["preset"]: row["realtime_1"] for row in json.loads(out.read_text())["results"]}


def test_rows_of_other_models_are_kept(out, monkeypatch, capsys):
    speed = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(bench_models, "measure", lambda row, _: result(row.preset, next(speed)))
    assert bench.main(["models", "openunmix", "scnet"]) == 0
    assert bench.main(["models", "scnet"]) == 0
    assert stored(out) == {"openunmix": 1.0, "scnet": 3.0}
    assert "openunmix" not in capsys.readouterr().out.splitlines()[-1]


def test_a_row_is_kept_once_it_is_measured(out, monkeypatch):
    def measure(row: bench_models.Row, _: int) -> bench_models.ModelResult:
        if row.preset == "scnet":
            raise KeyboardInterrupt
        return result(row.preset, 1.0)

    monkeypatch.setattr(bench_models, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        bench.main(["models", "openunmix", "scnet"])
    assert stored(out) == {"openunmix": 1.0}


@pytest.mark.parametrize("text", ["{", "[]", '{"results": [1]}', '{"results": [{}]}'])
def test_a_damaged_file_is_told_before_anything_is_measured(out, monkeypatch, capsys, text):
    monkeypatch.setattr(bench_models, "measure", lambda *_: pytest.fail("measured"))
    out.write_text(text)
    assert bench.main(["models", "scnet"]) == 1
    assert f"bench: {out}: not a file of this benchmark" in capsys.readouterr().err
    assert out.read_text() == text


def test_interval_of_the_median():
    low, high = bench_models.median_interval(
        [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    )
    assert 1.0 < low < 1.5 < high < 2.0


def test_an_unknown_row_is_an_error(capsys):
    assert bench.main(["models", "scnett"]) == 1
    assert "bench: scnett: no such row; known: demucs, " in capsys.readouterr().err
