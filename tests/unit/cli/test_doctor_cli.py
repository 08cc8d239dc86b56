"""`stemgrid doctor`: a line a check, a table of speeds, an exit code, no traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mss.api import doctor
from mss.api import speeds as trying
from mss.api.checks import Check
from mss.api.speeds import Speed
from mss.cli.doctor import format_check, format_speeds
from mss.cli.main import main
from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import DataError


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "import_fault", lambda module: None)


def test_lines_and_a_table(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--repo", str(released), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "\nok       torch" in out
    table = out[out.index("MODEL") :]
    assert "* " in table
    assert "hdemucs-aaaa1111" in table
    assert "openunmix" not in table


def test_json_is_one_object(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--repo", str(released), "--json", "--no-speed"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["speeds"] == []
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert states["torch"] == "ok"
    assert set(told["checks"][0]) == {"name", "state", "fact", "remedy", "needed"}


def test_speeds_as_json(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--repo", str(released), "--json", "--device", "cpu"]) == 0
    [speed] = json.loads(capsys.readouterr().out)["speeds"]
    assert speed["chosen"] is True
    assert speed["speed"] > 0
    assert speed["precision"] == "float32"


def test_what_is_broken_gives_1_and_no_traceback(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[Check]:
        raise ImportError("libsndfile.so: cannot open")

    monkeypatch.setattr(doctor, "soundfile", broken)
    assert main(["doctor", "--repo", str(released), "--no-speed"]) == 1
    out = capsys.readouterr().out
    assert "wrong    soundfile      ImportError: libsndfile.so: cannot open" in out
    assert "ok       cache" in out


def test_a_damaged_index_gives_1_and_an_empty_repo_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--repo", str(tmp_path / "nothing")]) == 0
    assert "missing  models" in capsys.readouterr().out
    (tmp_path / "index.json").write_text("{")
    assert main(["doctor", "--repo", str(tmp_path)]) == 1
    assert "wrong    models" in capsys.readouterr().out


def test_a_model_that_cannot_be_tried_gives_1(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(*arguments: object) -> Iterator[Speed]:
        raise DataError("model.safetensors: is damaged")
        yield

    monkeypatch.setattr(trying, "model_speeds", damaged)
    assert main(["doctor", "--repo", str(released)]) == 1
    assert "model.safetensors: is damaged" in capsys.readouterr().out


def test_an_optional_runtime_that_fails_gives_0(
    released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Speed("m", "cpu", "torch", "float32", 2, 1, 1.5, 3 << 30, chosen=True),
        Speed("m", "cpu", "onnx", error="no kernel"),
    ]
    monkeypatch.setattr(trying, "model_speeds", lambda repo, scope, device: iter(found))
    assert main(["doctor", "--repo", str(released), "--speed"]) == 0
    assert format_speeds(found) in capsys.readouterr().out
    assert format_speeds(found).splitlines() == [
        "   MODEL  DEVICE  BACKEND  PRECISION  THREADS  BATCH  X REAL TIME  PEAK MEMORY",
        "*  m      cpu     torch    float32    2        1      1.50         3.0 GiB",
        "* is what `stemgrid separate` takes",
        "m by onnx: no kernel",
    ]


def test_a_remedy_has_a_line_of_its_own() -> None:
    assert format_check(Check("GPU", "missing", "none", "none is needed")) == (
        "missing  GPU            none\n                        -> none is needed"
    )
    assert format_check(Check("GPU", "ok", "one")) == "ok       GPU            one"


def test_speed_or_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--speed", "--no-speed"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
