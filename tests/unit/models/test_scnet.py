from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.scnet import SCNet, SCNetConfig

FOUR = AudioSpec(("drums", "bass", "other", "vocals"))
SMALL = SCNetConfig(channels=(4, 8), nfft=512, hop=128, dual_path_layers=2)
LARGE: dict[str, Any] = {"channels": (64, 128, 256), "band_ratios": (0.225, 0.372, 0.403)}
XL = LARGE | {"band_ratios": (0.23, 0.37, 0.4), "dual_path_layers": 8}
XL_IHF = XL | {"band_strides": (1, 4, 4), "band_kernels": (3, 4, 4), "conv_depths": (3, 3, 3)}


def small(**changes: Any) -> SCNet:
    torch.manual_seed(0)
    return SCNet(replace(SMALL, **changes), FOUR).eval()


def noise(length: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 10_578_768),  # published as 10.58 M
        (LARGE, 42_181_232),  # published as 42.18 M
        # frozen from the first version verified against msst 0.1.0
        (XL, 54_006_896),
        (XL_IHF, 53_466_800),
    ],
    ids=["base", "large", "xl", "xl_ihf"],
)
def test_parameter_counts(options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        model = SCNet(SCNetConfig(**options), FOUR)
    assert sum(p.numel() for p in model.parameters()) == count


def test_state_dict_speaks_the_published_names() -> None:
    with torch.device("meta"):
        names = set(SCNet(SCNetConfig(), FOUR).state_dict())
    for name in (
        "encoder.0.SDlayer.convs.2.weight",
        "encoder.1.conv_modules.0.layers.2.6.bias",
        "encoder.2.globalconv.weight",
        "separation_net.dp_modules.5.lstm_layers.1.weight_hh_l0_reverse",
        "separation_net.dp_modules.0.linear_layers.0.weight",
        "separation_net.dp_modules.3.norm_layers.1.bias",
        "decoder.0.0.conv.weight",
        "decoder.2.1.convtrs.2.bias",
    ):
        assert name in names
    assert not any(name.startswith("stft") for name in names)


def test_inference_defaults_are_the_authors() -> None:
    inference = small().inference
    assert SCNetConfig().segment == Fraction(11)
    assert (inference.segment, inference.overlap) == (Fraction(11), 0.5)
    assert (inference.window, inference.normalise) == ("triangle", "file_mono_std")


@pytest.mark.parametrize(
    ("length", "frames"), [(1, 2), (127, 2), (128, 4), (383, 4), (384, 6), (639, 6), (640, 8)]
)
def test_frames_are_even_and_reach_beyond_the_end(length: int, frames: int) -> None:
    (spec,) = small().analyse(noise(length)).inputs
    assert spec.shape == (1, 4, 257, frames)


@pytest.mark.parametrize("length", [1000, 1280])
def test_the_mixture_passes_through(length: int) -> None:
    model, mix = small(), noise(length)
    features = model.analyse(mix)
    estimate = model.synthesise(features, (features.inputs[0].repeat(1, 4, 1, 1),))
    for source in range(4):
        torch.testing.assert_close(estimate.wave[:, source], mix, rtol=0, atol=1e-6)
    assert estimate.stft is not None
    assert estimate.spec is not None
    # all frames but those that see the end, where the network's input has zeros
    whole = slice(0, length // 128 - 2)
    torch.testing.assert_close(
        estimate.spec[..., whole], estimate.stft(estimate.wave)[..., whole], rtol=0, atol=1e-5
    )


def test_frames_have_no_window() -> None:
    features = small(normalized=False).analyse(torch.ones(1, 2, 2000))
    dc = features.inputs[0][0, 0, 0, 2:8]
    torch.testing.assert_close(dc, torch.full((6,), 512.0))


def test_sources_keep_their_order() -> None:
    model, mix = small(), noise(1000)
    before = model(mix).wave
    with torch.no_grad():  # silence what makes the third source's channels: 2 channels x re, im
        for convtr in model.decoder[-1][1].convtrs:
            convtr.weight[:, 8:12] = 0
            convtr.bias[8:12] = 0
    after = model(mix).wave
    assert after[:, 2].abs().max() == 0
    torch.testing.assert_close(after[:, [0, 1, 3]], before[:, [0, 1, 3]])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"nfft": 0}, "nfft"),
        ({"hop": 300}, "hop"),
        ({"nfft": 511}, "hop"),
        ({"channels": ()}, "channels"),
        ({"channels": (8, 0)}, "channels"),
        ({"nfft": 16, "hop": 4, "band_kernels": (3, 8, 16)}, "band_ratios"),
        ({"nfft": 4, "hop": 1, "band_ratios": (0.1, 0.1, 0.8)}, "band_ratios"),
        ({"band_ratios": (0.2, 0.4, 0.5)}, "band_ratios"),
        ({"band_ratios": (0.0, 0.5, 0.5)}, "band_ratios"),
        ({"band_ratios": ()}, "band_ratios"),
        ({"band_strides": (1, 4)}, "band_strides"),
        ({"band_kernels": (3, 4)}, "band_kernels"),
        ({"band_kernels": (3, 6, 16)}, "band_kernels"),
        ({"conv_depths": (1, 1)}, "conv_depths"),
        ({"conv_depths": (1, -1, 1)}, "conv_depths"),
        ({"conv_kernel": 4}, "conv_kernel"),
        ({"compress": 5.0}, "compress"),
        ({"compress": float("nan")}, "compress"),
        ({"dual_path_layers": 3}, "dual_path_layers"),
        ({"expand": 0}, "expand"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
