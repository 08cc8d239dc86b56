from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.core.wiener import wiener
from mss.models.d3net import D3Net, D3NetConfig, SourceNetwork

FOUR = AudioSpec(("vocals", "drums", "bass", "other"))
ONE = AudioSpec(("vocals",))
DRUMS: dict[str, Any] = {
    "split_bin": 128,
    "low_layers": (5, 5, 5, 4, 4, 4, 4),
    "full_growth": (13, 14, 15, 16, 16, 16, 14, 12, 11),
    "full_layers": (4, 5, 6, 7, 8, 6, 6, 4, 4),
}
BASS: dict[str, Any] = {
    "split_bin": 192,
    "low_growth": (16, 18, 18, 20, 18, 16, 16),
    "high_growth": (2,) * 7,
    "high_layers": (1,) * 7,
    "full_growth": (10, 10, 12, 14, 16, 14, 12, 8, 8),
    "full_layers": (4, 5, 6, 7, 8, 6, 6, 4, 4),
}


def tiny(spec: AudioSpec = FOUR, **changes: Any) -> D3Net:
    torch.manual_seed(0)
    return D3Net(replace(D3Net.tiny(spec).config, **changes), spec).eval()


def noise(length: int, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(1, channels, length, generator=generator)


@pytest.mark.parametrize(
    ("values", "parameters"),
    # published: 2.967, 2.873 and 2.420 M
    [({}, 2_967_407), (DRUMS, 2_873_284), (BASS, 2_419_822)],
    ids=["vocals and other", "drums", "bass"],
)
def test_published_sizes(values: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        model = D3Net(D3NetConfig(residual=True, **values), ONE)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.stft.frames(int(model.segment * 44100)) == 256


@torch.no_grad()
def test_the_network_joins_its_branches() -> None:
    """The whole of it again, with low and high computed apart and the gate written out."""
    model = tiny()
    net: Any = model.targets[0]
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() < 3 and tensor.is_floating_point():
            tensor.add_(0.2 * torch.rand_like(tensor))
    magnitude = torch.rand(2, 2, 65, 8)
    x = ((magnitude - net.input_mean) / net.input_scale)[:, :, :48]
    norm, conv = net.match_high
    low, high = net.low(x[:, :, :16]), conv(norm(net.high(x[:, :, 16:])))
    assert isinstance(net.match_low, nn.Identity)
    joined = torch.cat([torch.cat([low, high], dim=2), net.full(x)], dim=1)
    norm, conv, _ = net.gated
    value, gate = conv(norm(net.final(joined))).split(2, dim=1)
    inside = torch.relu(value * gate.sigmoid() * net.output_scale + net.output_mean)
    torch.testing.assert_close(net(magnitude)[:, :, :48], inside)
    assert torch.equal(net(magnitude)[:, :, 48:], magnitude[:, :, 48:])


@torch.no_grad()
def test_frames_are_padded_to_what_the_levels_need() -> None:
    model = tiny()
    net: Any = model.targets[0]
    assert net.multiple == 4
    magnitude = torch.rand(1, 2, 65, 9)
    (got,) = model.network(magnitude)
    silence = torch.zeros(1, 2, 65, 3)
    expected = net(torch.cat([magnitude, silence], dim=-1))[..., :9]
    assert got.shape == (1, 4, 2, 65, 9)
    torch.testing.assert_close(got[:, 0], expected)


@torch.no_grad()
def test_statistics_standardise_the_input() -> None:
    model = tiny()
    net = model.targets[0]
    assert isinstance(net, SourceNetwork)
    magnitude = 5 + 3 * torch.randn(1, 2, 65, 8)
    expected = net((magnitude - 5) / 3)[:, :, :48]
    net.set_statistics(torch.full((65,), 5.0), torch.full((65,), 3.0))
    torch.testing.assert_close(net(magnitude)[:, :, :48], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_targets_share_nothing() -> None:
    model = tiny()
    magnitude = torch.rand(1, 2, 65, 8)
    (before,) = model.network(magnitude)
    for parameter in model.targets[1].parameters():
        parameter.add_(0.1)
    changed = (model.network(magnitude)[0] != before)[0].flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False, False]


@torch.no_grad()
def test_evaluation_filters_and_training_does_not() -> None:
    model, mix = tiny(), noise(2000)
    features = model.analyse(mix)
    outputs = model.network(*features.inputs)
    spec = features.context["spec"]
    evaluated = model.synthesise(features, outputs)
    torch.testing.assert_close(evaluated.spec, wiener(outputs[0], spec, 1, window=None))
    torch.testing.assert_close(evaluated.wave.sum(dim=1), mix, rtol=0, atol=1e-3)
    trained = model.train().synthesise(features, outputs)
    assert trained.spec is not None
    torch.testing.assert_close(trained.spec.abs(), outputs[0])


def test_one_source_needs_a_residual() -> None:
    with pytest.raises(ConfigError, match=r"model\.niter.*residual=true"):
        tiny(ONE, residual=False)
    assert tiny(ONE, residual=False, niter=0)(noise(2000)).wave.shape == (1, 1, 2, 2000)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"split_bin": 0}, "split_bin"),
        ({"split_bin": 48}, "split_bin"),
        ({"top_bin": 66}, "split_bin"),
        ({"split_bin": 15}, "split_bin.*low"),
        ({"top_bin": 50}, "top_bin.*full"),
        ({"low_growth": (3, 4)}, "low_growth"),
        ({"low_layers": (2, 3, 0)}, "low_layers"),
        ({"full_layers": (2, 2, 2)}, "full_layers.*full_growth"),
        ({"high_blocks": 0}, "high_blocks"),
        ({"high_features": 0}, "high_features"),
        ({"final_layers": 0}, "final_layers"),
        ({"nhop": 100}, "nhop"),
        ({"niter": -1}, "niter"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        tiny(**changes)
