"""How fast a machine is on each model. No figure is asserted but that there is one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mss.api import speeds
from mss.api.speeds import model_speeds
from mss.core.cache import CACHE_VARIABLE
from mss.core.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(speeds, "available_backends", lambda: ("torch",))
    return tmp_path / "cache"


def test_the_default_model_is_tried_and_what_was_found_is_kept(
    released: Path, own_cache: Path
) -> None:
    [speed] = model_speeds(released, "default", "cpu")
    assert speed.model.startswith("hdemucs-aaaa1111")
    assert (speed.device, speed.backend, speed.precision) == ("cpu", "torch", "float32")
    assert speed.chosen
    assert speed.error is None
    assert speed.speed is not None
    assert speed.speed > 0
    assert speed.threads >= 1
    assert speed.batch_size == 1
    assert len(list(own_cache.rglob("*.json"))) == 1


def test_every_model_and_bag(released: Path) -> None:
    found = list(model_speeds(released, "all", "cpu"))
    assert [speed.model.partition("-")[0] for speed in found] == [
        "hdemucs",
        "openunmix",
        "hdemucs",
        "both",
    ]
    assert all(speed.chosen and speed.speed for speed in found)


def test_a_model_that_is_damaged_does_not_hide_the_others(released: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(released, repo)
    [damaged] = repo.glob("openunmix*.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = list(model_speeds(repo, "all", "cpu"))
    assert [speed.model.partition("-")[0] for speed in found if speed.error] == ["openunmix"]
    assert sum(speed.speed is not None for speed in found) == 3


def test_a_runtime_that_fails_is_told_beside_torch(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = speeds._build

    def build(release: Any, repo: Any, device: Any, backend: Any) -> Any:
        if backend == "onnx":
            raise RuntimeError("no kernel\nand a lot more")
        if backend == "openvino":
            raise ConfigError("backend: OpenVINO can't take it over")
        return real(release, repo, device, backend)

    monkeypatch.setattr(speeds, "_build", build)
    monkeypatch.setattr(speeds, "available_backends", lambda: ("torch", "openvino", "onnx"))
    found = list(model_speeds(released, "all", "cpu"))[:3]
    assert [speed.backend for speed in found] == ["torch", "openvino", "onnx"]
    assert [speed.error for speed in found] == [
        None,
        "backend: OpenVINO can't take it over",
        "RuntimeError: no kernel",
    ]
    assert [speed.chosen for speed in found] == [True, False, False]


def test_no_models_and_no_such_device(tmp_path: Path, released: Path) -> None:
    with pytest.raises(DataError, match="no released model"):
        list(model_speeds(tmp_path / "nothing", "default"))
    with pytest.raises(ConfigError, match="--device cuda:99"):
        list(model_speeds(released, "default", "cuda:99"))
