"""Multi-domain and combination loss against the formulas of X-UMX and aimless, written in loops."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.types import Estimate, Target
from mss.losses import multidomain
from mss.losses.multidomain import weighted_sdr
from mss.losses.spectral import spectrograms

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


@pytest.mark.parametrize("name", ["multidomain", "combination"])
@pytest.mark.parametrize("domain", ["complex", "magnitude"])
def test_a_song_is_compared_by_blocks_of_frames(
    make_example: MakeExample, monkeypatch: pytest.MonkeyPatch, name: str, domain: str
) -> None:
    """With the values and gradients of the whole."""
    loss = registry.build("loss", {"name": name, **SMALL, "domain": domain, "wave": 0.0}, FOUR[:3])
    estimate, target = make_example(items=2)
    estimate.wave.requires_grad_()
    whole = loss(estimate, target).total
    whole.backward()
    gradient = estimate.wave.grad
    assert gradient is not None
    estimate.wave.grad = None

    monkeypatch.setattr(multidomain, "_BLOCK_FRAMES", 4)
    frames: list[int] = []
    loss.stft.register_forward_hook(lambda *args: frames.append(args[-1].shape[-1]))
    blocks = loss(estimate, target).total
    blocks.backward()
    assert max(frames) < 4 + 6 < loss.stft.frames(3000)  # a block and what pads it
    assert blocks.item() == pytest.approx(whole.item(), rel=1e-6)
    torch.testing.assert_close(estimate.wave.grad, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["multidomain", "combination"])
def test_millions_of_bins_lose_no_digits(make_example: MakeExample, name: str) -> None:
    """Added up one after the other, float32 numbers would miss by 1e-4 here, by 4 % in a song."""
    estimate, target = make_example(items=1, sources=3, length=200_000)
    loss = registry.build("loss", {"name": name}, FOUR[:3])
    got = loss.errors(estimate, target).terms["spectrum"]
    differences = [
        (ours - reference).to(torch.complex128)
        for ours, reference in spectrograms(estimate, target, loss.stft)
    ]
    expected = []
    for source in range(3):
        groups = [(source,)]
        if name == "combination":
            groups += [(source, other) for other in range(3) if other != source]
        errors = [sum(differences[i] for i in group).abs().square().mean() for group in groups]
        shares = torch.tensor([1 / len(group) for group in groups], dtype=torch.float64)
        expected.append((shares * torch.stack(errors)).sum() / shares.sum())
    torch.testing.assert_close(got[0].double(), torch.stack(expected), rtol=1e-6, atol=0)


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
