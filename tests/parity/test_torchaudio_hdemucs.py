"""torchaudio's HDemucs with our name map, same weights, against torchaudio 2.11.

torchaudio lies apart (it wants its own torch to import as a whole): bare packages of its names let
Python find the one module that is needed.
"""

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.models.hdemucs import HDemucs, HDemucsConfig
from mss.release.importers.torchaudio import hdemucs_from_torchaudio

pytestmark = pytest.mark.parity

SOURCES = ["drums", "bass", "other", "vocals"]
SMALL = {"channels": 8, "nfft": 256, "depth": 5, "norm_starts": 2, "dconv_lstm": 3, "dconv_attn": 3}


@pytest.fixture(scope="module")
def package(repository: Path) -> Iterator[types.ModuleType]:
    """The module torchaudio.models._hdemucs, without the packages around it."""
    root = repository / ".venv" / "peers" / "torchaudio"
    assert root.is_dir(), "make install puts torchaudio apart, beside the environment"
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in (("torchaudio", root), ("torchaudio.models", root / "models")):
            stub = types.ModuleType(name)
            stub.__path__ = [str(folder)]
            patch.setitem(sys.modules, name, stub)
        patch.delitem(sys.modules, "torchaudio.models._hdemucs", raising=False)
        yield importlib.import_module("torchaudio.models._hdemucs")
        patch.delitem(sys.modules, "torchaudio.models._hdemucs")


def build_pair(package: types.ModuleType, values: dict[str, Any]) -> tuple[nn.Module, HDemucs]:
    torch.manual_seed(0)
    reference = package.HDemucs(SOURCES, **values)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.3)
    imported = hdemucs_from_torchaudio({"sources": SOURCES} | values, reference.state_dict())
    assert imported.arch == "hdemucs"
    ours = HDemucs(make_config(HDemucsConfig, imported.config, "model"), imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    return reference.eval(), ours.eval()


def noise(channels: int, length: int) -> Tensor:
    return 0.1 * torch.randn(1, channels, length, generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def assert_parity(reference: nn.Module, ours: HDemucs, mix: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms: float32's own noise, in sums of another order."""
    expected, got = reference(mix), ours(mix).wave
    assert got.shape == expected.shape
    error, rms = (got - expected).abs().max().item(), expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert error <= 1e-5 * rms


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"audio_channels": 1, "context": 2, "context_enc": 1},
        {"growth": 1, "channels": 16, "dconv_depth": 3, "dconv_comp": 2, "freq_emb": 0.0},
        {"nfft": 1024},
    ],
    ids=str,
)
def test_every_option(package: types.ModuleType, options: dict[str, Any]) -> None:
    values = SMALL | options
    if options.get("nfft") == 1024:
        values["depth"] = 6
    reference, ours = build_pair(package, values)
    channels = values.get("audio_channels", 2)
    # beyond 200 steps of the deepest level the LSTM runs over spans
    for length in (2000, 30_001):
        assert_parity(reference, ours, noise(channels, length))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_bundles_size(package: types.ModuleType) -> None:
    reference, ours = build_pair(package, {"nfft": 4096, "depth": 6})
    assert sum(p.numel() for p in ours.parameters()) == 83_637_832
    assert_parity(reference, ours, noise(2, 60_001))
