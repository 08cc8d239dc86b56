from dataclasses import replace
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.core.wiener import wiener
from mss.models.openunmix import OpenUnmix, OpenUnmixConfig

FOUR = AudioSpec(("vocals", "drums", "bass", "other"))
SMALL = OpenUnmixConfig(hidden_size=16, nfft=512, nhop=128)


def small(spec: AudioSpec = FOUR, **changes: Any) -> OpenUnmix:
    torch.manual_seed(0)
    return OpenUnmix(replace(SMALL, **changes), spec).eval()


def noise(length: int, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return 0.1 * torch.randn(1, channels, length, generator=generator)


def test_published_sizes() -> None:
    with torch.device("meta"):
        model = OpenUnmix(OpenUnmixConfig(), FOUR)
    assert model.bins_in == 1487  # 16 kHz of 22.05
    assert {sum(p.numel() for p in target.parameters()) for target in model.targets} == {8_893_348}
    assert set(model.targets[0].state_dict()) >= {
        "input_mean",
        "output_scale",
        "fc1.weight",
        "bn3.running_var",
        "lstm.weight_hh_l2_reverse",
    }


@pytest.mark.parametrize(
    ("bandwidth", "bins"), [(None, 257), (30000.0, 257), (16000.0, 186), (1.0, 1)]
)
def test_bandwidth_counts_the_bins_up_to_it(bandwidth: float | None, bins: int) -> None:
    assert small(bandwidth=bandwidth).bins_in == bins
    if bandwidth is not None and bandwidth < 22050:
        frequencies = torch.linspace(0, 22050, 257)
        assert bins == int((frequencies <= bandwidth).sum())


def test_bins_above_the_bandwidth_are_not_seen_but_masked() -> None:
    model = small()
    magnitude = torch.rand(1, 2, 257, 10)
    (before,) = model.network(magnitude)
    louder = magnitude.clone()
    louder[:, :, 200] *= 3
    (after,) = model.network(louder)
    torch.testing.assert_close(after[:, :, :, 200], 3 * before[:, :, :, 200])
    torch.testing.assert_close(after[:, :, :, :200], before[:, :, :, :200])


def test_statistics_standardise_the_input() -> None:
    model = small()
    magnitude = 5 + 3 * torch.randn(1, 2, 257, 10)
    standard = (magnitude - 5) / 3
    (_, n, _, _), target = magnitude.shape, model.targets[0]
    rows = magnitude[:, :, :186].permute(0, 3, 1, 2).flatten(2)
    rows_standard = standard[:, :, :186].permute(0, 3, 1, 2).flatten(2)
    expected = target(rows_standard)
    target.set_statistics(torch.full((257,), 5.0), torch.full((257,), 3.0))
    torch.testing.assert_close(target(rows), expected, rtol=1e-4, atol=1e-5)
    assert n == 2


def test_targets_share_nothing() -> None:
    model, mix = small(niter=0), noise(4000)
    before = model(mix).wave
    with torch.no_grad():
        for parameter in model.targets[1].parameters():
            parameter.add_(0.1)
    changed = (model(mix).wave != before).flatten(2).any(dim=2)[0]
    assert changed.tolist() == [False, True, False, False]


def test_training_takes_the_mixtures_phase_and_evaluation_filters() -> None:
    model, mix = small(dropout=0.0), noise(4000)
    features = model.analyse(mix)
    outputs = model.network(*features.inputs)
    evaluated = model.synthesise(features, outputs)
    trained = model.train().synthesise(features, outputs)
    spec = features.context["spec"]
    assert trained.spec is not None
    torch.testing.assert_close(trained.spec.abs(), outputs[0])
    torch.testing.assert_close(evaluated.spec, wiener(outputs[0], spec, 1))
    # the filter's sources sum to the mixture
    torch.testing.assert_close(evaluated.wave.sum(dim=1), mix, rtol=0, atol=1e-3)


def test_one_source_needs_a_residual() -> None:
    vocals = AudioSpec(("vocals",))
    with pytest.raises(ConfigError, match=r"model\.niter.*residual=true"):
        small(vocals)
    assert small(vocals, residual=True)(noise(4000)).wave.shape == (1, 1, 2, 4000)
    assert small(vocals, niter=0)(noise(4000)).wave.shape == (1, 1, 2, 4000)


def test_unidirectional_is_causal() -> None:
    model = small(unidirectional=True)
    magnitude = torch.rand(1, 2, 257, 10)
    (before,) = model.network(magnitude)
    changed = magnitude.clone()
    changed[..., 6:] = 0
    (after,) = model.network(changed)
    torch.testing.assert_close(after[..., :6], before[..., :6])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hidden_size": 15}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"nhop": 300}, "nhop"),
        ({"dropout": 1.0}, "dropout"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": float("nan")}, "bandwidth"),
        ({"bandwidth": float("inf")}, "bandwidth"),
        ({"niter": -1}, "niter"),
        ({"wiener_win_len": 0}, "wiener_win_len"),
    ],
)
def test_options_that_do_not_fit_name_their_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}"):
        small(**changes)
