from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.mdx23c import MDX23C, MDX23CConfig

FOUR = AudioSpec(("vocals", "bass", "drums", "other"))
TWO = AudioSpec(("vocals", "other"))
SMALL = MDX23CConfig(
    nfft=512, hop=128, bins=256, subbands=2, channels=8, growth=4, scales=2, blocks=1
)


def small(**changes: Any) -> MDX23C:
    torch.manual_seed(0)
    return MDX23C(replace(SMALL, **changes), FOUR).eval()


def noise(length: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))


# frozen from the first version verified against msst 0.1.0
@pytest.mark.parametrize(("spec", "count"), [(FOUR, 111_994_368), (TWO, 111_990_272)])
def test_parameter_counts(spec: AudioSpec, count: int) -> None:
    with torch.device("meta"):
        model = MDX23C(MDX23CConfig(), spec)
    assert sum(p.numel() for p in model.parameters()) == count


def test_state_dict_speaks_the_published_names() -> None:
    with torch.device("meta"):
        names = set(MDX23C(MDX23CConfig(), FOUR).state_dict())
    for name in (
        "first_conv.weight",
        "encoder_blocks.4.tfc_tdf.blocks.1.tfc1.2.weight",
        "encoder_blocks.0.tfc_tdf.blocks.0.tdf.5.weight",
        "encoder_blocks.3.downscale.conv.0.bias",
        "bottleneck_block.blocks.0.shortcut.weight",
        "decoder_blocks.0.upscale.conv.2.weight",
        "decoder_blocks.4.tfc_tdf.blocks.0.tfc2.0.weight",
        "final_conv.2.weight",
    ):
        assert name in names
    assert not any(name.startswith("stft") for name in names)


def test_inference_defaults_are_the_published_ones() -> None:
    inference = small().inference
    assert MDX23CConfig().segment * 44100 == 261_120
    assert (inference.segment, inference.overlap) == (Fraction(4352, 735), 0.75)
    assert inference.normalise == "none"


@pytest.mark.parametrize(
    ("length", "frames"), [(1, 4), (383, 4), (384, 4), (511, 4), (512, 8), (896, 8), (1024, 12)]
)
def test_frames_fill_every_level(length: int, frames: int) -> None:
    (spec,) = small().analyse(noise(length)).inputs
    assert spec.shape == (1, 4, frames, 256)


@pytest.mark.parametrize("length", [1000, 1024, 1500])
def test_what_the_network_sees_passes_through(length: int) -> None:
    model, mix = small(bins=128), noise(length)
    features = model.analyse(mix)
    estimate = model.synthesise(features, (features.inputs[0].repeat(1, 4, 1, 1),))
    assert estimate.stft is not None
    assert estimate.spec is not None
    # the lower half of the spectrum comes back, the upper half is silent
    spec = model.stft(mix)
    spec[:, :, 128:] = 0
    whole = slice(0, length // 128 - 2)  # before the frames that see the end
    for source in range(4):
        torch.testing.assert_close(estimate.spec[:, source, ..., whole], spec[..., whole])
    lowpassed = model.stft.inverse(spec, length)
    inner = slice(0, length - 512)
    torch.testing.assert_close(
        estimate.wave[:, 1, :, inner], lowpassed[..., inner], rtol=0, atol=1e-6
    )


def test_subbands_are_folded_and_unfolded_in_order() -> None:
    model = small(subbands=4, bottleneck_factor=2)
    # with the U-net silent, the last layers map each bin of the mixture alone
    model.first_conv = nn.Conv2d(16, 8, 1, bias=False)
    nn.init.zeros_(model.first_conv.weight)
    x = torch.randn(1, 4, 4, 256, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[0, 2, 1, 70] += 1  # bin 6 of the second sub-band
    differs = (model.network(changed)[0] != model.network(x)[0])[0].any(dim=0)
    assert differs.nonzero().tolist() == [[1, 64 * band + 6] for band in range(4)]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, nn.InstanceNorm2d),
        ({"norm": "batch"}, nn.BatchNorm2d),
        ({"norm": "group", "norm_groups": 4}, nn.GroupNorm),
        ({"norm": "none"}, nn.Identity),
        ({"act": "relu"}, nn.ReLU),
        ({"act": "elu", "elu_alpha": 0.5}, nn.ELU),
    ],
)
def test_layers_are_those_that_are_named(changes: dict[str, Any], kind: type[nn.Module]) -> None:
    model = small(**changes)
    found = [module for module in model.modules() if type(module) is kind]
    # a norm before each of 4 convolutions or linear layers a block, of 5, and before 4 rescalings;
    # an activation in the last layers too
    assert len(found) == 4 * 5 + 4 + (kind in (nn.ReLU, nn.ELU))
    assert all(module.alpha == 0.5 for module in found if isinstance(module, nn.ELU))
    assert all(module.num_groups == 4 for module in found if isinstance(module, nn.GroupNorm))
    assert model(noise(1000)).wave.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"nfft": 0}, "nfft"),
        ({"hop": 300}, "hop"),
        ({"bins": 512}, "bins"),
        ({"bins": 250}, "bins"),
        ({"scales": 3, "bins": 200}, "bins"),
        ({"scale": (0, 2)}, "scale"),
        ({"scales": 0}, "scales"),
        ({"growth": -1}, "growth"),
        ({"bottleneck_factor": 64}, "bottleneck_factor"),
        ({"scales": 7, "bottleneck_factor": 1}, "bottleneck_factor"),
        ({"norm": "group", "norm_groups": 8}, "norm_groups"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
