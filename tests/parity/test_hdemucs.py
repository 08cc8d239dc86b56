"""Hybrid Demucs against demucs 4.1.0, with the same weights.

LayerScale is raised to 0.3: its tiny initial value would hide an error in any residual branch.
"""

from typing import Any

import pytest
import torch
from demucs.hdemucs import HDemucs as Reference
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.core.types import AudioSpec
from mss.models.hdemucs import HDemucs, HDemucsConfig

pytestmark = pytest.mark.parity

SOURCES = ("drums", "bass", "other", "vocals")
# Every kind of level in a model of milliseconds: three over frequency, the merge, two over time.
SMALL = {"channels": 8, "nfft": 256, "depth": 5, "norm_starts": 2, "dconv_lstm": 3, "dconv_attn": 3}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"hybrid_old": True},
    {"hybrid": False},
    {"hybrid": False, "channels_time": 20},
    {"cac": False},
    {"cac": False, "wiener_iters": -1, "end_iters": -1},
    {"cac": False, "wiener_iters": 1, "end_iters": 1},
    {"cac": False, "wiener_iters": 2, "end_iters": 2, "wiener_residual": True},
    {"cac": False, "hybrid": False, "wiener_iters": 1},
    {"multi_freqs": [0.3, 0.6]},
    {"multi_freqs": [0.25], "multi_freqs_depth": 1, "dconv_mode": 3},
    {"dconv_mode": 0},
    {"dconv_mode": 2},
    {"dconv_mode": 3, "dconv_depth": -2},
    {"dconv_depth": 3, "dconv_comp": 2},
    {"dconv_lstm": 0, "dconv_attn": 5, "dconv_comp": 2},
    {"dconv_attn": 2, "dconv_lstm": 5},
    {"rewrite": False},
    {"context": 2, "context_enc": 1},
    {"context": 0},
    {"freq_emb": 0.0},
    {"freq_emb": 0.5, "emb_scale": 3.0, "emb_smooth": False},
    {"channels_time": 12},
    {"growth": 1.5, "channels": 16, "norm_groups": 1, "dconv_comp": 2, "dconv_attn": 9},
    {"time_stride": 4},
    {"norm_starts": 0, "norm_groups": 2},
    {"nfft": 1024, "depth": 6},
    {"stride": 2, "kernel_size": 4, "depth": 8, "growth": 1, "channels": 16},
    {"rescale": 0},
]


def build_pair(values: dict[str, Any], channels: int = 2) -> tuple[nn.Module, HDemucs]:
    torch.manual_seed(0)
    reference = Reference(list(SOURCES), audio_channels=channels, **values)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.3)
    config = make_config(HDemucsConfig, values, "model")
    with torch.device("meta"):
        ours = HDemucs(config, AudioSpec(SOURCES, channels=channels))
    ours.to_empty(device="cpu")
    ours.stft.stft.window.copy_(torch.hann_window(config.nfft))  # emptied too, and no weight
    ours.load_state_dict(reference.state_dict(), strict=True)
    return reference.eval(), ours.eval()


def noise(channels: int, length: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(batch, channels, length, generator=generator)


@torch.no_grad()
def assert_parity(reference: nn.Module, ours: HDemucs, mix: Tensor) -> None:
    """Max abs <= 1e-5, absolute and relative to the output's rms."""
    expected, got = reference(mix), ours(mix).wave
    assert got.shape == expected.shape
    error, rms = (got - expected).abs().max().item(), expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert error <= 1e-5 * min(1.0, rms)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    reference, ours = build_pair(SMALL | options)
    # beyond 200 steps at the last level the LSTM runs over spans
    for length in (2000, 17_777):
        assert_parity(reference, ours, noise(2, length, batch=2))


def test_spans_of_the_lstm_and_mono() -> None:
    reference, ours = build_pair(SMALL | {"dconv_lstm": 2}, channels=1)
    for length in (25_600, 60_001):
        assert_parity(reference, ours, noise(1, length))


@pytest.mark.parametrize("length", [2, 63, 64, 65, 500, 1023, 1025])
def test_short_inputs(length: int) -> None:
    reference, ours = build_pair(SMALL)
    assert_parity(reference, ours, noise(2, length))


@pytest.mark.parametrize(
    "options", [{}, {"cac": False, "wiener_iters": 1, "end_iters": 1}], ids=str
)
def test_gradients(options: dict[str, Any]) -> None:
    reference, ours = build_pair(SMALL | options)
    reference.train()
    ours.train()
    mix = noise(2, 9001)
    reference(mix).square().mean().backward()
    ours(mix).wave.square().mean().backward()
    expected = dict(reference.named_parameters())
    largest = max(p.grad.abs().max().item() for p in expected.values())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5 * largest
        )


@pytest.fixture(scope="module", params=[48, 64])
def published(request: pytest.FixtureRequest) -> tuple[nn.Module, HDemucs]:
    return build_pair({"channels": request.param})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("length", [44_100, 44_101, 123_457, 498_330])
def test_published_size(published: tuple[nn.Module, HDemucs], length: int) -> None:
    # 1 s, odd lengths, and 11.3 s: the LSTM runs over spans from 9.3 s on
    assert_parity(*published, noise(2, length))
