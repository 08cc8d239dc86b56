"""What every registered model promises once its network runs in another runtime."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.backends.store import EXACT_DB, About, ExportBackend, ExportStore
from mss.infer.separate import model_chunk_fn, separate

MODELS = registry.names("model", plugins=False)
SPEC = AudioSpec(("vocals", "other"), samplerate=8000)
FRAMES = 2205
SEGMENT = Fraction(FRAMES, SPEC.samplerate)

CASES: list[tuple[ExportBackend, str]] = [
    *[("openvino", name) for name in MODELS],
    # each kind of layer once: an export to ONNX takes longer
    ("onnx", "spleeter"),  # convolutions
    ("onnx", "openunmix"),  # LSTM
    ("onnx", "bs_roformer"),  # attention
]


@functools.cache
def build(name: str) -> Separator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Separator = registry.resolve("model", name).tiny(SPEC)
    return model.eval()


@dataclass(frozen=True)
class Exported:
    """A model, and its network in another runtime."""

    model: Separator
    about: About
    chunk_fn: ChunkFn


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    backend, name = request.param
    store, model = ExportStore(tmp_path_factory.mktemp(name)), build(name)
    folder, about = store.prepare(model, backend, 1, FRAMES)
    return Exported(model, about, store.chunk_fn(model, backend, folder, about, threads=1))


def noise(length: int) -> Tensor:
    """Unlike the noise that an export is checked with: its channels are apart, and it has a DC."""
    generator = torch.Generator().manual_seed(length)
    level = torch.linspace(0.02, 0.2, length)
    return level * torch.randn(SPEC.channels, length, generator=generator) + 0.01


def agreement(expected: Tensor, found: Tensor) -> float:
    assert expected.shape == found.shape
    power = expected.double().square().mean()
    assert power > 1e-10, "silence would prove nothing"
    return float(10 * (power / (expected.double() - found.double()).square().mean()).log10())


def test_a_whole_chunk_without_torchs_network(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix = noise(FRAMES)[None]
    expected = model_chunk_fn(exported.model)(mix)

    def none(*_: Tensor) -> tuple[Tensor, ...]:
        raise AssertionError("torch's network was asked")

    monkeypatch.setattr(exported.model, "network", none)
    found = exported.chunk_fn(mix)
    assert found.dtype == torch.float32
    # it may take part in a loss
    assert not found.is_inference()
    assert agreement(expected, found) >= EXACT_DB
    # the runtime's own memory is not handed out: another chunk leaves this one as it is
    before = found.clone()
    exported.chunk_fn(0.5 * mix.flip(-1))
    assert torch.equal(found, before)


@pytest.mark.parametrize("length", [1, 700, FRAMES - 1, FRAMES + 4000])
def test_chunks_of_other_lengths(exported: Exported, length: int) -> None:
    """They go through torch's network, except where the model pads them to the same inputs."""
    mix = noise(length)[None]
    inputs = exported.model.analyse(mix).inputs
    other = tuple(tuple(tensor.shape) for tensor in inputs) != exported.about.shapes
    expected, found = model_chunk_fn(exported.model)(mix), exported.chunk_fn(mix)
    if other:
        assert torch.equal(found, expected)
    else:
        assert length < FRAMES
        assert agreement(expected, found) >= EXACT_DB
    if length > FRAMES:
        assert other


@pytest.mark.parametrize("length", [FRAMES - 9, 3 * FRAMES + 501])
def test_a_recording_as_with_torch(exported: Exported, length: int) -> None:
    """Normalised, cut into chunks that overlap, the last of them short, or lengthened."""
    mix = noise(length)
    inference = replace(exported.model.inference, segment=SEGMENT)
    expected = separate(model_chunk_fn(exported.model), SPEC, inference, mix)
    found = separate(exported.chunk_fn, SPEC, inference, mix)
    assert agreement(expected, found) >= EXACT_DB
