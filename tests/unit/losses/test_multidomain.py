"""Multi-domain and combination loss against the formulas of X-UMX and aimless, written in loops."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.types import Estimate, Target
from mss.losses.multidomain import weighted_sdr

FOUR = ("drums", "bass", "other", "vocals")
MakeExample = Callable[..., tuple[Estimate, Target]]
SMALL = {"nfft": 512, "nhop": 200}


def errors_of(name: str, estimate: Estimate, target: Target, **values: Any) -> Any:
    sources = FOUR[: target.weight.shape[1]]
    return registry.build("loss", {"name": name, **SMALL, **values}, sources).errors(
        estimate, target
    )


def wsdr(s_hat: np.ndarray, s: np.ndarray, x: np.ndarray) -> float:
    """Of one channel, after the paper."""
    n, n_hat = x - s, x - s_hat
    a = (s @ s) / (s @ s + n @ n)

    def cos(u: np.ndarray, v: np.ndarray) -> float:
        return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))

    return -a * cos(s, s_hat) - (1 - a) * cos(n, n_hat)


def of_group(
    numpy_stft: Any, estimate: Estimate, target: Target, item: int, group: Any, domain: str
) -> tuple[float, float]:
    """Return both terms of a sum of sources, as aimless computes them."""
    group = list(group)
    f = numpy_stft(estimate.wave[item], 512, 200)[group]
    y = numpy_stft(target.sources[item], 512, 200)[group]
    if domain == "magnitude":
        f, y = np.abs(f), np.abs(y)
    spectrum = (np.abs(f.sum(axis=0) - y.sum(axis=0)) ** 2).mean()
    assert target.mix is not None
    ours = estimate.wave[item, group].double().sum(dim=0).numpy()
    theirs = target.sources[item, group].double().sum(dim=0).numpy()
    channels = zip(ours, theirs, target.mix[item].double().numpy(), strict=True)
    return spectrum, 1 + float(np.mean([wsdr(*channel) for channel in channels]))


@pytest.mark.parametrize("domain", ["complex", "magnitude"])
def test_each_source(make_example: MakeExample, numpy_stft: Any, domain: str) -> None:
    estimate, target = make_example(items=2)
    got = errors_of("multidomain", estimate, target, domain=domain, wave=7.0)
    for item, row in np.ndindex(2, 3):
        spectrum, wave = of_group(numpy_stft, estimate, target, item, [row], domain)
        assert got.terms["spectrum"][item, row].item() == pytest.approx(spectrum, rel=1e-5)
        assert got.terms["wave"][item, row].item() == pytest.approx(wave, rel=1e-4)
        assert got.total[item, row].item() == pytest.approx(spectrum + 7 * wave, rel=1e-4)


@pytest.mark.parametrize("domain", ["complex", "magnitude"])
def test_the_fourteen_sums(make_example: MakeExample, numpy_stft: Any, domain: str) -> None:
    estimate, target = make_example(items=2, sources=4)
    got = errors_of("combination", estimate, target, domain=domain)
    groups = [group for size in (1, 2, 3) for group in combinations(range(4), size)]
    assert len(groups) == 14
    for item in range(2):
        terms = [of_group(numpy_stft, estimate, target, item, g, domain) for g in groups]
        expected = np.mean([spectrum + 10 * wave for spectrum, wave in terms])
        assert got.total[item].mean().item() == pytest.approx(expected, rel=1e-4)
        vocals = [(g, term) for g, term in zip(groups, terms, strict=True) if 3 in g]
        shares = np.array([1 / len(group) for group, _ in vocals])
        spectra = np.array([spectrum for _, (spectrum, _) in vocals])
        expected = (shares @ spectra) / shares.sum()
        assert got.terms["spectrum"][item, 3].item() == pytest.approx(expected, rel=1e-4)


def test_sums_with_an_unknown_source_are_left_out(
    make_example: MakeExample, numpy_stft: Any
) -> None:
    estimate, target = make_example(items=2, sources=4)
    target.weight[0, 1] = 0
    got = errors_of("combination", estimate, target)
    assert got.total[0, 1] == 0
    known = [g for size in (1, 2, 3) for g in combinations((0, 2, 3), size)]
    terms = [of_group(numpy_stft, estimate, target, 0, g, "complex") for g in known]
    expected = np.mean([spectrum + 10 * wave for spectrum, wave in terms])
    assert got.total[0, [0, 2, 3]].mean().item() == pytest.approx(expected, rel=1e-4)


def test_leaks_between_the_members_of_a_sum_cost_less(make_example: MakeExample) -> None:
    """Drums that go to the bass instead: the sum of both is right."""
    _, target = make_example(sources=4)
    swapped = Estimate(target.sources[:, [1, 0, 2, 3]])
    single = errors_of("multidomain", swapped, target, wave=0.0).total
    summed = errors_of("combination", swapped, target, wave=0.0).total
    assert (single[:, :2] > 0).all() and not single[:, 2:].any()
    assert (summed[:, :2] < single[:, :2]).all()


def test_weighted_sdr_is_between_its_bounds() -> None:
    x = torch.randn(2, 3, 500, generator=torch.Generator().manual_seed(0))
    source = 0.5 * x.roll(7, dims=-1)
    mix = source + 0.2 * x
    ones = torch.ones(2, 3)
    torch.testing.assert_close(weighted_sdr(source, source, mix), -ones)
    opposite = weighted_sdr(-1e6 * source, source, mix)  # and its noise is 1e6 times the source
    assert (opposite > -0.5).all() and (opposite <= 1).all()


@pytest.mark.parametrize("name", ["multidomain", "combination"])
def test_gradient_in_double_precision(name: str) -> None:
    """By finite differences, through spectra that a model gives; waves are taken as float32."""
    generator = torch.Generator().manual_seed(0)
    sources = torch.randn(1, 3, 1, 40, generator=generator)
    loss = registry.build("loss", {"name": name, "nfft": 16, "nhop": 8, "wave": 0.0}, FOUR[:3])
    target = Target(sources.double(), torch.ones(1, 3), sources.sum(dim=1))
    spec = loss.stft(torch.randn(1, 3, 1, 40, dtype=torch.float64, generator=generator))

    def total(parts: torch.Tensor) -> torch.Tensor:
        estimate = Estimate(sources, torch.view_as_complex(parts), loss.stft)
        result: torch.Tensor = loss(estimate, target).total
        return result

    parts = torch.view_as_real(spec).clone().requires_grad_()
    total(parts).backward()
    assert parts.grad is not None
    direction = torch.randn(parts.shape, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        slope = (total(parts + 0.05 * direction) - total(parts - 0.05 * direction)) / 0.1
    assert slope.item() == pytest.approx((parts.grad * direction).sum().item(), rel=1e-3)
