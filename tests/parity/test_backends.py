"""Whole recordings through OpenVINO against demucs 4.1.0's apply_model, with the same weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn

from mss.core import registry
from mss.core.separator import Separator
from mss.core.types import AudioSpec, ChunkFn
from mss.infer.backends.store import ExportStore
from mss.infer.engine import ModelEngine
from mss.release.importers.demucs import hdemucs_from_demucs, htdemucs_from_demucs

pytestmark = pytest.mark.parity

SPEC = AudioSpec(("drums", "bass", "other", "vocals"), samplerate=8000, channels=2)
SEGMENT = Fraction(1)
LEAST_DB = 80.0
"""Other orders of sums give 110; 50 is asked for."""

COMMON = {"channels": 8, "nfft": 1024, "samplerate": SPEC.samplerate, "segment": float(SEGMENT)}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    # frequency, LSTM and local attention layers
    "hdemucs": (HDemucs, hdemucs_from_demucs, {**COMMON, "depth": 5}),
    "htdemucs": (
        HTDemucs,
        htdemucs_from_demucs,
        {
            **COMMON,
            "depth": 3,
            "bottom_channels": 32,
            "dconv_mode": 3,
            "dconv_comp": 4,
            "norm_groups": 2,
            "t_layers": 3,
            "t_heads": 4,
        },
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Separator, ChunkFn]:
    """Theirs, ours, and ours with its network in OpenVINO."""
    kind, importer, options = KINDS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = kind(list(SPEC.sources), **options)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(0.3)  # the published start would hide the residual branches
    imported = importer({"args": [list(SPEC.sources)], "kwargs": options}, theirs.state_dict())
    ours: Separator = registry.build(
        "model", {"name": imported.arch, **imported.config}, imported.spec
    )
    ours.load_state_dict(imported.state, strict=True)
    ours.eval()
    store = ExportStore(Path(tmp_path_factory.mktemp(request.param)))
    folder, about = store.prepare(ours, "openvino", 1, SPEC.frames(SEGMENT))
    return theirs.eval(), ours, store.chunk_fn(ours, "openvino", folder, about, threads=1)


def recording(frames: int) -> Tensor:
    """Coloured noise with an offset and a level far from 1, so that normalisation matters."""
    generator = torch.Generator().manual_seed(frames)
    noise = torch.randn(2, frames, generator=generator)
    return 0.03 * noise + 0.05 * noise.roll(3, -1) + 0.02


# one segment is 8000 samples, the stride at overlap 0.25 is 6000
@pytest.mark.parametrize("frames", [2, 1001, 7999, 8000, 8001, 13999, 27183])
def test_equals_demucs(pair: tuple[nn.Module, Separator, ChunkFn], frames: int) -> None:
    theirs, ours, chunk_fn = pair
    mix = recording(frames)
    mono = mix.mean(0)
    mean, std = mono.mean(), mono.std() + 1e-8
    expected = apply_model(theirs, ((mix - mean) / std)[None], split=True, overlap=0.25, shifts=0)
    expected = expected[0] * std + mean

    engine = ModelEngine(chunk_fn, SPEC, ours.inference)
    first_pass = engine.first_pass(SPEC.samplerate, 2)
    assert first_pass is not None
    first_pass.feed(mix)
    session = engine.session(SPEC.samplerate, 2, first_pass.finish())
    got = torch.cat([session.feed(mix), session.flush()], dim=-1)

    assert got.shape == expected.shape
    for one, other in zip(got, expected, strict=True):  # of the worst source
        error = (one.double() - other.double()).square().sum()
        assert 10 * torch.log10(other.double().square().sum() / error) >= LEAST_DB


def test_a_whole_segment_is_not_torchs(
    pair: tuple[nn.Module, Separator, ChunkFn], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours, chunk_fn = pair
    monkeypatch.setattr(ours, "network", None)
    assert chunk_fn(recording(8000)[None]).isfinite().all()
