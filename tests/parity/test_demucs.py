"""Demucs in the time domain (v2, v3) against demucs 4.1.0, same weights, read by the importer.

LayerScale is raised to 0.3: its tiny initial value would hide an error in any residual branch.
"""

from typing import Any

import pytest
import torch
from demucs.demucs import Demucs as Reference
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.models.demucs import Demucs, DemucsConfig
from mss.release.importers.demucs import demucs_from_demucs

pytestmark = pytest.mark.parity

SOURCES = ["drums", "bass", "other", "vocals"]
V2 = {
    "lstm_layers": 2,
    "dconv_mode": 0,
    "gelu": False,
    "normalize": False,
    "norm_starts": 6,
}
SMALL = {
    "channels": 8,
    "depth": 4,
    "norm_starts": 2,
    "norm_groups": 2,
    "dconv_comp": 2,
    "dconv_lstm": 3,
    "dconv_attn": 2,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    V2,
    {"resample": False},
    {"normalize": False, "dconv_mode": 3, "dconv_depth": -2},
    {"dconv_mode": 2, "glu": False, "context": 2},
    {"rewrite": False, "lstm_layers": 1},
    {"kernel_size": 6, "stride": 3, "growth": 1.5, "channels": 16, "dconv_attn": 9},
    {"depth": 2, "dconv_lstm": 1, "dconv_attn": 1, "context": 0},
]


def build_pair(values: dict[str, Any], channels: int = 2) -> tuple[nn.Module, Demucs]:
    torch.manual_seed(0)
    reference = Reference(SOURCES, audio_channels=channels, **values)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.3)
    imported = demucs_from_demucs(
        {"args": [SOURCES], "kwargs": {"audio_channels": channels} | values},
        reference.state_dict(),
    )
    assert imported.arch == "demucs"
    ours = Demucs(make_config(DemucsConfig, imported.config, "model"), imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    return reference.eval(), ours.eval()


def noise(channels: int, length: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(batch, channels, length, generator=generator)


@torch.no_grad()
def assert_parity(reference: nn.Module, ours: Demucs, mix: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms: float32's own noise, in sums of another order."""
    expected, got = reference(mix), ours(mix).wave
    assert got.shape == expected.shape
    error, rms = (got - expected).abs().max().item(), expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert error <= 1e-5 * rms


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    reference, ours = build_pair(SMALL | options)
    # beyond 200 steps the LSTMs of the branches run over spans
    for length in (2000, 17_777):
        assert_parity(reference, ours, noise(2, length, batch=2))


@pytest.mark.parametrize("length", [2, 7, 100, 1023, 5001])
def test_short_inputs_and_mono(length: int) -> None:
    reference, ours = build_pair(SMALL, channels=1)
    assert_parity(reference, ours, noise(1, length))


def test_gradients() -> None:
    reference, ours = build_pair(SMALL)
    mix = noise(2, 5001)
    reference.train()(mix).square().mean().backward()
    ours.train()(mix).wave.square().mean().backward()
    expected = dict(reference.named_parameters())
    largest = max(p.grad.abs().max().item() for p in expected.values())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5 * largest
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [{}, V2], ids=["v3", "v2"])
def test_published_size(options: dict[str, Any]) -> None:
    reference, ours = build_pair(options)
    assert_parity(reference, ours, noise(2, 60_001))
