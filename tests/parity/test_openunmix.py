"""Open-Unmix against openunmix 1.3.0, with the same weights.

openunmix imports torchaudio for things that its networks and its filter never touch; a stub stands
in for it, since torchaudio is no dependency of ours.
"""

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mss.core.registry import make_config
from mss.core.types import AudioSpec
from mss.core.wiener import wiener
from mss.models.openunmix import OpenUnmix, OpenUnmixConfig
from mss.release.importers.openunmix import openunmix_from_openunmix

pytestmark = pytest.mark.parity

SOURCES = ("vocals", "drums", "bass", "other")
SMALL = {"hidden_size": 32, "nfft": 1024, "nhop": 256, "wiener_win_len": 50}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"niter": 0},
    {"niter": 2},
    {"softmask": True},
    {"softmask": True, "niter": 0},
    {"residual": True},
    {"wiener_win_len": None},
    {"bandwidth": None},
    {"unidirectional": True},
    {"nb_layers": 1},
]


@pytest.fixture(scope="module")
def reference_package() -> Iterator[types.ModuleType]:
    """The installed openunmix, imported while a stub stands in for torchaudio."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
        import openunmix.filtering
        import openunmix.model

        yield openunmix


def build_pair(
    package: types.ModuleType, values: dict[str, Any], sources: tuple[str, ...], channels: int
) -> tuple[nn.Module, OpenUnmix]:
    torch.manual_seed(0)
    config = make_config(OpenUnmixConfig, values, "model")
    with torch.device("meta"):
        bins_in = OpenUnmix(config, AudioSpec(sources, channels=channels)).bins_in
    references = {}
    for name in sources:
        reference = package.model.OpenUnmix(
            nb_bins=config.nfft // 2 + 1,
            nb_channels=channels,
            hidden_size=config.hidden_size,
            nb_layers=config.nb_layers,
            unidirectional=config.unidirectional,
            max_bin=bins_in,
        )
        _vary(reference)
        references[name] = reference
    ours = imported(references, config, channels)
    assert ours.bins_in == bins_in
    separator = package.model.Separator(
        references,
        niter=config.niter,
        softmask=config.softmask,
        residual=config.residual,
        n_fft=config.nfft,
        n_hop=config.nhop,
        nb_channels=channels,
        wiener_win_len=config.wiener_win_len,
    )
    return separator.eval(), ours.eval()


def imported(
    references: Mapping[str, nn.Module], config: OpenUnmixConfig, channels: int
) -> OpenUnmix:
    """Our model, by way of what an importer is given: weights by target, and separator.json."""
    separator = {"nfft": config.nfft, "nhop": config.nhop, "nb_channels": channels}
    names = ("niter", "softmask", "residual", "wiener_win_len")
    options = {"separator": separator | {"sample_rate": 44100}}
    translated = openunmix_from_openunmix(
        options | {name: getattr(config, name) for name in names},
        {
            f"{target}.{name}": value
            for target, network in references.items()
            for name, value in network.state_dict().items()
        },
    )
    model = OpenUnmix(make_config(OpenUnmixConfig, translated.config, "model"), translated.spec)
    model.load_state_dict(translated.state, strict=True)
    return model


@torch.no_grad()
def _vary(network: nn.Module) -> None:
    """Move every mean, scale and running statistic away from its neutral initial value."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 1:
            tensor.add_(0.2 * torch.rand_like(tensor))


def noise(channels: int, length: int) -> Tensor:
    """Two items; each channel has its own spectrum, so that there is something to localise."""
    generator = torch.Generator().manual_seed(length)
    mix = 0.1 * torch.randn(2, channels, length, generator=generator)
    mix[:, 0] += mix[:, 0].roll(1, dims=-1)
    return mix


def assert_parity(got: Tensor, expected: Tensor) -> None:
    """Max abs <= 1e-5 of the output's rms."""
    assert got.shape == expected.shape
    rms = expected.square().mean().sqrt().item()
    assert rms > 1e-4
    assert (got - expected).abs().max().item() <= 1e-5 * rms


@pytest.mark.parametrize(
    ("options", "sources", "channels"),
    [
        *((options, SOURCES, 2) for options in OPTIONS),
        ({}, SOURCES, 1),
        ({"residual": True}, SOURCES[:1], 2),
    ],
    ids=str,
)
@torch.no_grad()
def test_magnitudes_and_waves(
    reference_package: types.ModuleType,
    options: dict[str, Any],
    sources: tuple[str, ...],
    channels: int,
) -> None:
    reference, ours = build_pair(reference_package, SMALL | options, sources, channels)
    mix = noise(channels, 30_001)
    (magnitude,) = ours.analyse(mix).inputs
    expected = torch.stack([net(magnitude) for net in reference.target_models.values()], dim=1)
    assert_parity(ours.network(magnitude)[0], expected)
    # with `residual` the reference gives the rest as one more source
    assert_parity(ours(mix).wave, reference(mix)[:, : len(sources)])


@pytest.mark.slow
@pytest.mark.parametrize("length", [44_100, 132_301])
@torch.no_grad()
def test_published_size(reference_package: types.ModuleType, length: int) -> None:
    reference, ours = build_pair(reference_package, {}, SOURCES, 2)
    mix = noise(2, length)
    (magnitude,) = ours.analyse(mix).inputs
    expected = torch.stack([net(magnitude) for net in reference.target_models.values()], dim=1)
    assert_parity(ours.network(magnitude)[0], expected)
    assert_parity(ours(mix).wave, reference(mix))


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_filter_in_double_precision(
    reference_package: types.ModuleType, iterations: int, residual: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    magnitudes = torch.rand(3, 2, 20, 40, dtype=torch.float64, generator=generator)  # s c f n
    mix = torch.randn(2, 20, 40, dtype=torch.complex128, generator=generator)  # c f n
    expected = reference_package.filtering.wiener(
        magnitudes.permute(3, 2, 1, 0),
        torch.view_as_real(mix.permute(2, 1, 0)).contiguous(),
        iterations,
        residual=residual,
    )  # n f c reim s
    expected = torch.view_as_complex(expected.permute(4, 2, 1, 0, 3).contiguous())
    got = wiener(magnitudes[None], mix[None], iterations, residual=residual, window=None)[0]
    # the reference computes phases with pi, and sqrt(eps), in single precision
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
