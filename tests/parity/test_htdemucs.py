"""Hybrid Transformer Demucs against demucs 4.1.0, with the same weights, read by the importer.

Every weight is drawn anew where its initial value (a LayerScale of 1e-4, a norm of 1, a bias of 0)
would hide an error.
"""

import sys
import types
from typing import Any

import pytest
import torch
from demucs.htdemucs import HTDemucs as Reference
from omegaconf import OmegaConf
from torch import Tensor, nn

from mss.core import registry
from mss.core.registry import make_config
from mss.core.separator import Separator
from mss.models.htdemucs import HTDemucs, HTDemucsConfig
from mss.release.importers.demucs import htdemucs_from_demucs
from mss.release.importers.demucs_msst import hdemucs_from_msst, htdemucs_from_msst

pytestmark = pytest.mark.parity

FOUR = ["drums", "bass", "other", "vocals"]
SIX = [*FOUR, "guitar", "piano"]
RELEASED = {"dconv_mode": 3, "bottom_channels": 512, "t_dropout": 0.02}
# the released structure in milliseconds: four levels, 8 bins at the bottom of two branches
SMALL = {
    "channels": 8,
    "nfft": 2048,
    "norm_groups": 2,
    "dconv_mode": 3,
    "dconv_comp": 4,
    "bottom_channels": 32,
    "samplerate": 8000,
    "segment": 1,
    "t_heads": 4,
    "use_train_segment": False,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bottom_channels": 0},
    {"dconv_mode": 1, "t_layers": 1},
    {"dconv_mode": 0, "t_layers": 2, "t_cross_first": True},
    {"t_norm_in": False, "t_norm_out": False, "t_layer_scale": False, "t_heads": 2},
    {"t_hidden_scale": 1.5, "t_weight_pos_embed": 0.3, "t_max_period": 500.0},
    {"norm_starts": 2, "context_enc": 1, "depth": 3, "rewrite": True},
    {"rewrite": False, "freq_emb": 0.0, "growth": 1, "channels": 16},
]


def build_pair(values: dict[str, Any], sources: list[str]) -> tuple[nn.Module, HTDemucs]:
    torch.manual_seed(0)
    reference = Reference(sources, **values)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(0.3)
            elif "norm" in name or name.endswith("proj_bias") or name.endswith("proj.bias"):
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    imported = htdemucs_from_demucs({"args": [sources], "kwargs": values}, reference.state_dict())
    assert imported.arch == "htdemucs"
    ours = HTDemucs(make_config(HTDemucsConfig, imported.config, "model"), imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    return reference.eval(), ours.eval()


def noise(channels: int, length: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(batch, channels, length, generator=generator)


@torch.no_grad()
def assert_parity(reference: nn.Module, ours: Separator, mix: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms: float32's own noise, in sums of another order."""
    expected, got = reference(mix), ours(mix).wave
    assert got.shape == expected.shape
    error, rms = (got - expected).abs().max().item(), expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert error <= 1e-5 * rms


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(options: dict[str, Any]) -> None:
    reference, ours = build_pair(SMALL | options, FOUR)
    for length in (4096, 8001):
        assert_parity(reference, ours, noise(2, length, batch=2))


def test_six_sources() -> None:
    reference, ours = build_pair(SMALL | {"bottom_channels": 0}, SIX)
    assert_parity(reference, ours, noise(2, 9001))


def test_mono() -> None:
    reference, ours = build_pair(SMALL | {"audio_channels": 1}, ["vocals"])
    assert_parity(reference, ours, noise(1, 7777))


@pytest.mark.parametrize("length", [1, 333, 4096, 7999, 8000])
def test_inputs_up_to_the_training_segment(length: int) -> None:
    reference, ours = build_pair(SMALL | {"use_train_segment": True}, FOUR)
    assert_parity(reference, ours, noise(2, length))


def test_gradients() -> None:
    reference, ours = build_pair(SMALL, FOUR)
    reference.train()
    ours.train()
    mix = noise(2, 5001)
    reference(mix).square().mean().backward()
    ours(mix).wave.square().mean().backward()
    expected = dict(reference.named_parameters())
    largest = max(p.grad.abs().max().item() for p in expected.values())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5 * largest
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sources", [FOUR, SIX], ids=["htdemucs", "htdemucs_6s"])
def test_released_size(sources: list[str]) -> None:
    values = RELEASED | {"bottom_channels": 512 if sources is FOUR else 0}
    reference, ours = build_pair(values | {"segment": 2}, sources)
    assert_parity(reference, ours, noise(2, 80_001))


@pytest.mark.parametrize("model", ["htdemucs", "hdemucs"])
def test_a_model_of_msst(model: str) -> None:
    """Built by MSST 0.1.0 from a yaml like its own, imported from that yaml."""
    own: dict[str, Any] = {"htdemucs": SMALL, "hdemucs": {"channels": 8, "nfft": 1024, "depth": 5}}[
        model
    ]
    outer = ("samplerate", "segment", "use_train_segment")
    options = {
        "training": {"instruments": FOUR, "channels": 2, "samplerate": 8000, "segment": 1},
        "inference": {"num_overlap": 2},
        "model": model,
        model: {name: value for name, value in own.items() if name not in outer},
    }
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        # openunmix, whose filter MSST takes, imports torchaudio for things that are not used here
        patch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
        from msst.models.demucs4ht import get_model

        reference = get_model(OmegaConf.create(options))
    translate = {"htdemucs": htdemucs_from_msst, "hdemucs": hdemucs_from_msst}[model]
    imported = translate(options, reference.state_dict())
    ours = registry.build("model", {"name": imported.arch, **imported.config}, imported.spec)
    ours.load_state_dict(imported.state, strict=True)
    assert_parity(reference.eval(), ours.eval(), noise(2, 6001))
