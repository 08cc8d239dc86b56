"""How torch runs a network: what is chosen, and that it stays the same model."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from mss.core.errors import ConfigError
from mss.core.registry import BUILTIN, resolve
from mss.core.separator import Separator
from mss.core.types import AudioSpec
from mss.infer import accelerate
from mss.infer.accelerate import (
    AcceleratedModel,
    Acceleration,
    choose_acceleration,
    compilation_pays,
    cpu_features,
    has_bf16,
)
from mss.infer.selection import select_sources
from mss.infer.separate import model_chunk_fn

SPEC = AudioSpec(("drums", "vocals"), samplerate=8000, channels=2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def tiny(name: str) -> Separator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Separator = resolve("model", name).tiny(SPEC)
    return model.eval()


def noise(length: int = 4000, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, 2, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(BUILTIN["model"]))
def test_bf16_is_another_rounding_of_the_same_model(name: str) -> None:
    """It agrees to 30 dB, and is not the float32 network under another name."""
    model, mix = tiny(name), noise()
    expected = model_chunk_fn(model)(mix)
    found = model_chunk_fn(AcceleratedModel(model, Acceleration("bf16")))(mix)
    assert found.dtype == torch.float32
    error = (found - expected).square().sum()
    assert error > 0
    assert 10 * torch.log10(expected.square().sum() / error) > 30


@pytest.mark.parametrize("name", ["hdemucs", "openunmix"])
def test_spectra_stay_float32_in_bf16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(name)
    seen: list[torch.dtype] = []
    synthesise = model.synthesise

    def spy(features: Any, outputs: tuple[Tensor, ...]) -> Any:
        seen.extend(out.dtype for out in (*features.inputs, *outputs))
        assert not torch.is_autocast_enabled("cpu")
        return synthesise(features, outputs)

    monkeypatch.setattr(model, "synthesise", spy)
    AcceleratedModel(model, Acceleration("bf16"))(noise())
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("name", ["hdemucs", "scnet"])
def test_channels_last_changes_the_layout_alone(name: str) -> None:
    model, mix = tiny(name), noise()
    expected = model_chunk_fn(model)(mix)
    found = model_chunk_fn(AcceleratedModel(model, Acceleration(channels_last=True)))(mix)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    kernels = [weight for weight in model.parameters() if weight.ndim == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_only_the_chunk_it_was_made_for_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[int] = []

    def fake(network: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
        assert dynamic is False

        def compiled(*inputs: Tensor) -> Any:
            shapes.append(len(inputs[0]))
            return network(*inputs)

        return compiled

    monkeypatch.setattr(torch, "compile", fake)
    model = tiny("openunmix")
    fast = AcceleratedModel(model, Acceleration(compile=True), batch_size=2, frames=4000)
    for mix in (noise(4000, 2), noise(4000, 1), noise(3999, 2)):
        torch.testing.assert_close(fast(mix).wave, model(mix).wave)
    assert shapes == [2]


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*inputs: Tensor) -> Any:
        raise TorchDynamoException("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda network, dynamic: fail)
    model = tiny("openunmix")
    fast = AcceleratedModel(model, Acceleration(compile=True), frames=4000)
    for _ in range(2):
        torch.testing.assert_close(fast(noise()).wave, model(noise()).wave)
    assert [record.message for record in caplog.records] == [
        "the network can't be compiled (no C++ compiler); goes on without"
    ]


def test_it_is_a_model_like_any_other() -> None:
    model = tiny("hdemucs")
    fast = AcceleratedModel(model, Acceleration())
    assert fast.spec == SPEC
    assert fast.inference == model.inference
    assert fast.segment == model.segment
    mix = noise()
    assert torch.equal(fast(mix).wave, model(mix).wave)
    [vocals], _ = select_sources([fast], None, ["vocals"])
    torch.testing.assert_close(vocals(mix).wave, model(mix).wave[:, 1:])


def test_a_cpu_computes_in_float32_and_compiles_nothing_by_itself() -> None:
    assert choose_acceleration(CPU, audio_seconds=1e9, speed=1.0) == Acceleration()


def test_what_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate, "has_bf16", lambda device: True)
    found = choose_acceleration(CPU, "bf16", compile=True)
    assert found == Acceleration("bf16", channels_last=False, compile=True)


@pytest.mark.parametrize(("precision", "message"), [("bf16", "cpu"), ("tf32", "cpu"), ("b", "b")])
def test_a_precision_that_the_device_lacks(
    precision: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate, "has_bf16", lambda device: False)
    with pytest.raises(ConfigError, match=f"precision: .*{message}.*float32"):
        choose_acceleration(CPU, precision)


@pytest.mark.parametrize(("tf32", "expected"), [(True, "tf32"), (False, "float32")])
def test_a_gpu_takes_tf32_where_it_has_it(
    tf32: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate, "has_tf32", lambda device: tf32)
    found = choose_acceleration(CUDA, audio_seconds=240.0)
    assert found == Acceleration(expected, channels_last=True, compile=False)  # type: ignore[arg-type]
    assert choose_acceleration(CUDA, audio_seconds=10 * 3600.0).compile
    assert not choose_acceleration(CUDA, compile=False, audio_seconds=10 * 3600.0).compile


@pytest.mark.parametrize(
    ("seconds", "speed", "pays"),
    [
        (None, None, False),
        (None, 1.0, False),
        (60 * 374.0, None, False),
        (60 * 376.0, None, True),
        (449.0, 1.0, False),
        (451.0, 1.0, True),
        (451.0, 2.0, False),
    ],
)
def test_compilation_pays_from_a_length_on(
    seconds: float | None, speed: float | None, pays: bool
) -> None:
    assert compilation_pays(seconds, speed) is pays


def test_features_of_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\n")
    assert cpu_features(str(info)) == {"fpu", "avx512_bf16", "sse"}
    assert cpu_features(str(tmp_path / "none")) == frozenset()
    for found, expected in (({"avx512f"}, False), ({"amx_bf16"}, True), ({"bf16"}, True)):
        monkeypatch.setattr(accelerate, "cpu_features", lambda found=found: frozenset(found))
        assert has_bf16(CPU) is expected


def test_a_segment_is_the_models() -> None:
    assert AcceleratedModel(tiny("htdemucs"), Acceleration()).segment == Fraction(1, 20)
