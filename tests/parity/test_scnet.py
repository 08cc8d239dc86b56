"""SCNet against Music-Source-Separation-Training (msst 0.1.0), with the same weights.

Weights reach our model through the importer's translator, so that what is imported is what is
proven here.
"""

from typing import Any

import pytest
import torch
from msst.models.scnet import SCNet as Reference
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.models.scnet import SCNet, SCNetConfig
from mss.release.importers.scnet import scnet_from_msst

# the reference calls torch.stft without a window, on purpose
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:A window was not provided")]

SOURCES = ["drums", "bass", "other", "vocals"]
SMALL = {"dims": [4, 8, 12, 16], "nfft": 512, "hop_size": 128, "win_size": 512, "num_dplayer": 2}
# 257 bins leave bands that strides don't divide at every level
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_dplayer": 4, "expand": 2},
    {"normalized": False},
    {"band_SR": [0.225, 0.372, 0.403]},
    {"band_SR": [0.5, 0.3, 0.1]},
    {"band_stride": [1, 4, 4], "band_kernel": [3, 4, 4], "conv_depths": [3, 3, 3]},
    {"band_stride": [2, 3, 8], "band_kernel": [4, 6, 8], "conv_depths": [-1, 0, 2]},
    {"band_stride": [1, 1, 1], "band_kernel": [5, 2, 1]},
    {"compress": 2, "conv_kernel": 5},
    {"compress": 1.5, "conv_kernel": 1},
    {"dims": [4, 8], "hop_size": 200},
]


def yaml_of(values: dict[str, Any], target: str | None = None) -> dict[str, Any]:
    """What MSST writes beside a checkpoint."""
    return {
        "audio": {"chunk_size": 485100, "num_channels": 2, "sample_rate": 44100},
        "model": values,
        "training": {
            "instruments": values.get("sources", SOURCES),
            "target_instrument": target,
        },
        "inference": {"batch_size": 8, "num_overlap": 4, "normalize": False},
    }


def build_pair(values: dict[str, Any], target: str | None = None) -> tuple[nn.Module, SCNet]:
    torch.manual_seed(0)
    reference = Reference(**values).eval()
    _vary(reference)
    imported = scnet_from_msst(yaml_of(values, target), reference.state_dict())
    config = make_config(SCNetConfig, imported.config, "model")
    assert imported.arch == "scnet"
    ours = SCNet(config, imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    return reference, ours.eval()


@torch.no_grad()
def _vary(network: nn.Module) -> None:
    """Move norms and biases away from their neutral initial values."""
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.2 * torch.rand_like(parameter))


def noise(length: int, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(2, channels, length, generator=generator)


@torch.no_grad()
def assert_parity(got: Tensor, expected: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms."""
    assert got.shape == expected.shape
    rms = expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert (got - expected).abs().max().item() <= 1e-5 * rms


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_every_option(options: dict[str, Any]) -> None:
    reference, ours = build_pair(SMALL | options)
    # whole hops are padded by a whole hop or two, others by the rest of one and perhaps another
    for length in (640, 768, 1001, 1129):
        assert_parity(ours(noise(length)).wave, reference(noise(length)))


@torch.no_grad()
def test_mono_and_two_sources() -> None:
    values = SMALL | {"dims": [2, 8, 12], "audio_channels": 1, "sources": ["speech", "music"]}
    reference, ours = build_pair(values)
    assert ours.spec.channels == 1
    mix = noise(2000, channels=1)
    assert_parity(ours(mix).wave, reference(mix))


@torch.no_grad()
def test_a_target_instrument_alone() -> None:
    reference, ours = build_pair(SMALL, target="other")
    assert ours.spec.sources == ("other",)
    assert_parity(ours(noise(2000)).wave, reference(noise(2000))[:, 2:3])


def test_gradients() -> None:
    reference, ours = build_pair(SMALL)
    mix = noise(3001)
    reference(mix).square().mean().backward()
    ours(mix).wave.square().mean().backward()
    expected = dict(reference.named_parameters())
    largest = max(p.grad.abs().max().item() for p in expected.values())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5 * largest
        )


PUBLISHED: list[dict[str, Any]] = [
    {},
    # a third of its BLSTM blocks, which are all alike and only cost time
    {"dims": [4, 64, 128, 256], "band_SR": [0.225, 0.372, 0.403], "num_dplayer": 2},
]


@pytest.mark.parametrize("options", PUBLISHED, ids=["base", "large"])
@torch.no_grad()
def test_published_size(options: dict[str, Any]) -> None:
    reference, ours = build_pair(options)
    mix = noise(15_000)[:1]
    assert_parity(ours(mix).wave, reference(mix))
