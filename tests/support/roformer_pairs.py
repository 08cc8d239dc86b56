"""Reference RoFormers with varied weights, and ours made of them through the importer."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mss.core import registry
from mss.core.separator import Separator
from mss.release.importers.imported import Imported

STEMS = ["drums", "bass", "other", "vocals"]


def yaml_of(model: Mapping[str, Any], stems: list[str], target: str | None = None) -> Any:
    """A whole MSST yaml around the options of a model."""
    return {
        "audio": {"chunk_size": 44100, "sample_rate": 44100, "num_channels": 2},
        "model": {**model, "num_stems": len(stems) if target is None else 1},
        "training": {"instruments": stems, "target_instrument": target},
        "inference": {"batch_size": 1, "num_overlap": 2},
    }


@torch.no_grad()
def vary(model: nn.Module) -> None:
    """Move gains and biases away from their neutral values, so that none goes unnoticed."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and "rotary" not in name:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def build(imported: Imported) -> Separator:
    """The model that a loader builds of what a translator gives."""
    values = {"name": imported.arch, **imported.config}
    model: Separator = registry.build("model", values, imported.spec)
    model.load_state_dict(imported.state, strict=True)
    return model.eval()


def noise(channels: int, length: int) -> Tensor:
    """Two items of coloured noise, the channels alike but not equal."""
    generator = torch.Generator().manual_seed(length)
    white = torch.randn(2, channels + 1, length + 7, generator=generator)
    mix = white[:, :-1] + white[:, 1:]
    return 0.1 * mix.unfold(-1, 8, 1).mean(dim=-1)


@torch.no_grad()
def assert_parity(ours: Separator, reference: Callable[[Tensor], Tensor], mix: Tensor) -> None:
    """Max abs error <= 1e-5 of the output's rms."""
    expected = reference(mix)
    if expected.dim() == 3:  # the references drop a single source's axis
        expected = expected[:, None]
    rms = expected.square().mean().sqrt().item()
    assert rms > 1e-4
    got = ours(mix).wave
    assert got.shape[-1] == mix.shape[-1]
    # a reference that is not told the length gives whole hops only
    got = got[..., : expected.shape[-1]]
    assert got.shape == expected.shape
    error = (got - expected).abs().max().item() / rms
    assert error <= 1e-5, error
