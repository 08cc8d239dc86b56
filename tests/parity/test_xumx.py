"""X-UMX against asteroid 0.7.0, with the same weights.

asteroid's package imports what is no dependency of ours, and the class itself is said to be broken
under torch 2: its STFT asks for real output, which is no more. What is compared is everything
between: masks and masked magnitudes. Stubs with the packages' paths let the one file be imported.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mss.core import registry
from mss.core.errors import ConfigError
from mss.models.xumx import XUMX
from mss.release.importers.xumx import xumx_from_asteroid

pytestmark = pytest.mark.parity

SOURCES = ["bass", "drums", "other", "vocals"]
SMALL = {"window_length": 512, "in_chan": 512, "n_hop": 128, "hidden_size": 32, "max_bin": 187}


@pytest.fixture(scope="module")
def asteroid_xumx() -> Iterator[type[nn.Module]]:
    """Asteroid's network, imported without its package."""
    spec = importlib.util.find_spec("asteroid")
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in [("asteroid", root), ("asteroid.models", root / "models")]:
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            patch.setitem(sys.modules, name, package)
        base = types.ModuleType("asteroid.models.base_models")
        base.BaseModel = _Base  # type: ignore[attr-defined]
        patch.setitem(sys.modules, base.__name__, base)
        patch.delitem(sys.modules, "asteroid.models.x_umx", raising=False)
        import asteroid.models.x_umx as module

        yield module.BrokenXUMX
        patch.delitem(sys.modules, "asteroid.models.x_umx")


class _Base(nn.Module):
    """The base class's part in the network is to keep the sample rate."""

    def __init__(self, sample_rate: float) -> None:
        super().__init__()
        self.sample_rate = sample_rate


def build_pair(reference: type[nn.Module], **arguments: Any) -> tuple[Any, XUMX]:
    """Return both models with the same random weights, in evaluation."""
    torch.manual_seed(0)
    theirs: Any = reference(sources=SOURCES, **arguments).eval()
    with torch.no_grad():  # move every mean, scale and statistic away from its neutral value
        for name, tensor in theirs.state_dict().items():
            if tensor.dim() == 1 and not name.endswith("window"):
                tensor.add_(0.2 * torch.rand_like(tensor))
    imported = xumx_from_asteroid({"model_args": theirs.get_model_args()}, theirs.state_dict())
    config = registry.make_config(XUMX.Config, imported.config, "model")
    ours = XUMX(config, imported.spec).eval()
    ours.load_state_dict(imported.state, strict=True)
    return theirs, ours


def assert_parity(got: Tensor, expected: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms."""
    assert got.shape == expected.shape
    rms = expected.square().mean().sqrt().item()
    assert rms > 1e-3
    assert (got - expected).abs().max().item() <= 1e-5 * rms


@pytest.mark.parametrize(
    "arguments",
    [
        SMALL,
        SMALL | {"max_bin": None},
        SMALL | {"max_bin": 100, "sample_rate": 22050},
        SMALL | {"bidirectional": False},
        SMALL | {"nb_layers": 2},
        SMALL | {"nb_channels": 1},
        pytest.param({"max_bin": 1487}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@torch.no_grad()
def test_masks_and_magnitudes(asteroid_xumx: type[nn.Module], arguments: dict[str, Any]) -> None:
    theirs, ours = build_pair(asteroid_xumx, **arguments)
    assert ours.bins_in == theirs.max_bin
    generator = torch.Generator().manual_seed(1)
    magnitude = 3 * torch.rand(
        2, ours.spec.channels, ours.stft.bins, 40, generator=generator
    )  # b c f n
    frames = rearrange(magnitude, "b c f n -> n b c f")
    masks = theirs.forward_masker(frames.clone())  # s n b c f
    (estimate,) = ours.network(magnitude)
    assert_parity(estimate, rearrange(theirs.apply_masks(frames, masks), "s n b c f -> b s c f n"))
    inside = rearrange(magnitude[:, :, : ours.bins_in], "b c f n -> b n (c f)")
    assert_parity(torch.stack(ours.masks(inside)), rearrange(masks, "s n b c f -> s b n c f"))


def test_published_size(asteroid_xumx: type[nn.Module]) -> None:
    with torch.device("meta"):
        theirs = asteroid_xumx(sources=SOURCES, max_bin=1487)
    windows = 2 * 4096 - 4096  # one window, a parameter there, in two modules
    assert sum(p.numel() for p in theirs.parameters()) - windows == 35_573_392


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"spec_power": 2}, "spec_power"),
        ({"window_length": 256}, "window_length"),
        ({"kernel": 3}, "kernel"),
        ({"sources": None}, "sources"),
    ],
)
def test_arguments_without_a_counterpart_are_named(arguments: dict[str, Any], key: str) -> None:
    model_args = {"sources": SOURCES, **SMALL, **arguments}
    with pytest.raises(ConfigError, match=rf"model_args\.{key}"):
        xumx_from_asteroid({"model_args": model_args}, {})


def test_a_foreign_tensor_is_named() -> None:
    state = {"layer_enc.guitar.enc.0.weight": torch.zeros(1)}
    with pytest.raises(ConfigError, match=r"layer_enc\.guitar"):
        xumx_from_asteroid({"model_args": {"sources": SOURCES}}, state)
