"""MDX23C against Music-Source-Separation-Training (msst 0.1.0), with the same weights.

Weights reach our model through the importer's translator, so that what is imported is what is
proven here.
"""

from typing import Any

import pytest
import torch
from ml_collections import ConfigDict
from msst.models.mdx23c_tfc_tdf_v3 import TFC_TDF_net
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.models.mdx23c import MDX23C, MDX23CConfig
from mss.release.importers.mdx23c import mdx23c_from_msst

pytestmark = pytest.mark.parity

SOURCES = ["vocals", "bass", "drums", "other"]
# config_musdb18_mdx23c.yaml of the toolbox
PUBLISHED = {
    "audio": {
        "chunk_size": 261120,
        "dim_f": 4096,
        "dim_t": 256,
        "hop_length": 1024,
        "n_fft": 8192,
        "num_channels": 2,
        "sample_rate": 44100,
        "min_mean_abs": 0.001,
    },
    "model": {
        "act": "gelu",
        "bottleneck_factor": 4,
        "growth": 128,
        "norm": "InstanceNorm",
        "num_blocks_per_scale": 2,
        "num_channels": 128,
        "num_scales": 5,
        "num_subbands": 4,
        "scale": [2, 2],
    },
    "training": {"instruments": SOURCES, "target_instrument": None},
    "inference": {"batch_size": 1, "dim_t": 256, "num_overlap": 4},
}
SMALL = {
    "audio": {"n_fft": 512, "hop_length": 128, "dim_f": 256},
    "model": {"num_channels": 8, "growth": 4, "num_scales": 2, "num_subbands": 2},
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"model": {"norm": "BatchNorm", "act": "relu"}},
    {"model": {"norm": "GroupNorm2", "act": "elu0.7"}},
    {"model": {"num_blocks_per_scale": 3, "bottleneck_factor": 1, "growth": 0}},
    {"model": {"scale": [1, 4]}},
    {"model": {"scale": [4, 2], "num_subbands": 1}},
    {"audio": {"dim_f": 192}, "model": {"num_scales": 3}},
    {"training": {"target_instrument": "drums"}},
    {"training": {"instruments": ["Vocals", "Instrumental"]}},
]


def merge(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    merged = {section: dict(values) for section, values in base.items()}
    for change in changes:
        for section, values in change.items():
            merged[section] |= values
    return merged


def build_pair(options: dict[str, Any]) -> tuple[nn.Module, MDX23C]:
    torch.manual_seed(0)
    reference = TFC_TDF_net(ConfigDict(options)).eval()
    _vary(reference)
    imported = mdx23c_from_msst(options, reference.state_dict())
    assert imported.arch == "mdx23c"
    ours = MDX23C(make_config(MDX23CConfig, imported.config, "model"), imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    return reference, ours.eval()


@torch.no_grad()
def _vary(network: nn.Module) -> None:
    """Move every scale, bias and running statistic away from its neutral initial value."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 1:
            tensor.add_(0.2 * torch.rand_like(tensor))


def noise(length: int) -> Tensor:
    return 0.1 * torch.randn(2, 2, length, generator=torch.Generator().manual_seed(length))


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
    reference, ours = build_pair(merge(PUBLISHED, SMALL, options))
    for frames in (16, 48):  # the reference takes what its levels divide, in whole hops
        mix = noise((frames - 1) * 128)
        assert_parity(ours(mix).wave, reference(mix))


@torch.no_grad()
def test_other_lengths_are_those_of_a_mixture_that_ends_in_silence() -> None:
    reference, ours = build_pair(merge(PUBLISHED, SMALL))
    for length in (1, 900, 3968, 3969, 4100):
        mix = noise(length)
        frames = length // 128 + 1
        whole = (frames + -frames % 4 - 1) * 128
        if frames % 4:
            expected = reference(nn.functional.pad(mix, (0, whole - length)))[..., :length]
            assert_parity(ours(mix).wave, expected)
        else:  # as many frames as before; the last hop is seen, but not given, by the reference
            assert_parity(ours(mix).wave[..., :whole], reference(mix))


def test_gradients() -> None:
    reference, ours = build_pair(merge(PUBLISHED, SMALL))
    mix = noise(31 * 128)
    reference(mix).square().mean().backward()
    ours(mix).wave.square().mean().backward()
    expected = dict(reference.named_parameters())
    largest = max(p.grad.abs().max().item() for p in expected.values())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5 * largest
        )


@torch.no_grad()
def test_published_shape() -> None:
    # all of the published model but three quarters of its channels, which only cost time
    reference, ours = build_pair(
        merge(PUBLISHED, {"model": {"num_channels": 32, "growth": 32}}),
    )
    mix = noise(31 * 1024)[:1]
    assert_parity(ours(mix).wave, reference(mix))
