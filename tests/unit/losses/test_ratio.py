"""Losses in decibels against their formulas in float64 and the scores of those names."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import Estimate, Target
from mss.metrics.energy import NSDR, SISDR

SOURCES = ("drums", "bass", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]


def errors_of(name: str, estimate: Estimate, target: Target, **values: object) -> Tensor:
    loss = registry.build("loss", {"name": name, **values}, SOURCES)
    errors: Tensor = loss.errors(estimate, target).total
    return errors


def test_sdr_is_the_negative_score(make_example: MakeExample) -> None:
    estimate, target = make_example()
    scores = [NSDR()(y, f, 44100) for y, f in zip(target.sources, estimate.wave, strict=True)]
    got = errors_of("sdr", estimate, target)
    torch.testing.assert_close(got, -torch.stack(scores).float(), rtol=0, atol=1e-5)


def test_sdr_of_a_silent_reference_is_the_leakage(make_example: MakeExample) -> None:
    estimate, target = make_example()
    got = errors_of("sdr", estimate, Target(0 * target.sources, target.weight), eps=1e-3)
    leakage = estimate.wave.double().square().sum(dim=(2, 3))
    torch.testing.assert_close(got, 10 * torch.log10((leakage + 1e-3) / 1e-3).float())


@pytest.mark.parametrize("zero_mean", [False, True])
def test_si_sdr_is_the_negative_score(make_example: MakeExample, zero_mean: bool) -> None:
    estimate, target = make_example()
    wave = estimate.wave + torch.tensor([0.02, -0.01])[:, None]  # offsets of the channels
    metric = SISDR(SISDR.Config(zero_mean=zero_mean))
    scores = [metric(y, f, 44100) for y, f in zip(target.sources, wave, strict=True)]
    got = errors_of("si_sdr", Estimate(wave), target, zero_mean=zero_mean)
    torch.testing.assert_close(got, -torch.stack(scores).float(), rtol=0, atol=1e-4)


def test_si_sdr_leaves_the_level_free(make_example: MakeExample) -> None:
    estimate, target = make_example()
    gains = torch.rand(4, 3, 2, 1) + 0.5  # of each channel
    got = errors_of("si_sdr", Estimate(gains * estimate.wave), target)
    torch.testing.assert_close(got, errors_of("si_sdr", estimate, target), rtol=0, atol=1e-4)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_l1_snr_is_its_formula(make_example: MakeExample, eps: float) -> None:
    estimate, target = make_example()
    f, y = estimate.wave.double(), target.sources.double()
    error, reference = ((x.abs().mean(dim=(2, 3)) + eps).log10() for x in (f - y, y))
    got = errors_of("l1_snr", estimate, target, eps=eps)
    torch.testing.assert_close(got, (10 * (error - reference)).float())


def test_quiet_sources_count_as_loud_ones(make_example: MakeExample) -> None:
    estimate, target = make_example()
    quiet = Estimate(0.1 * estimate.wave), Target(0.1 * target.sources, target.weight)
    for name, values in (("sdr", {}), ("si_sdr", {}), ("l1_snr", {"eps": 1e-9})):
        got, expected = (
            errors_of(name, *quiet, **values),
            errors_of(name, estimate, target, **values),
        )
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["sdr", "si_sdr", "l1_snr"])
@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
def test_a_wrong_constant(name: str, eps: float) -> None:
    with pytest.raises(ConfigError, match=r"loss\.eps: .* is not positive"):
        registry.build("loss", {"name": name, "eps": eps}, SOURCES)
