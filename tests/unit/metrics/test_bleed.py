"""Bleedless and fullness of what is known: gains, pauses, what is missing and what is too much."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mss.metrics.bleed import BleedFull, MultiResolutionBleedFull

MakeSong = Callable[..., Tensor]


def noise(seed: int = 0, length: int = 30000) -> Tensor:
    """White noise [1, 2, T]: all its mel bands lie within 80 dB."""
    return torch.randn(1, 2, length, generator=torch.Generator().manual_seed(seed))


def scores(reference: Tensor, estimate: Tensor) -> tuple[float, float]:
    found = BleedFull().score(reference, estimate, 44100)
    return found["bleedless"].item(), found["fullness"].item()


def points(decibels: float) -> float:
    return 100 / (1 + decibels)


def test_of_a_gain() -> None:
    # 20 log10(2) dB
    assert scores(noise(), 2 * noise()) == pytest.approx((points(6.0206), 100), rel=1e-4)
    assert scores(noise(), noise() / 4) == pytest.approx((100, points(12.0412)), rel=1e-4)


def test_each_mean_is_over_its_own_side() -> None:
    gains = torch.tensor([2.0, 0.25])[:, None]  # of the two channels
    assert scores(noise(), gains * noise()) == pytest.approx(
        (points(6.0206), points(12.0412)), rel=1e-4
    )


def test_what_is_missing_costs_fullness_and_bleeding_costs_bleedless() -> None:
    reference, other = noise(), noise(seed=1)
    assert scores(reference, reference) == (100, 100)
    dull = reference.clone()
    dull[..., :15000] *= 0.1
    bleedless, fullness = scores(reference, dull)
    # 20 dB in half of the song, no difference in the other, some of both in the frames between
    assert fullness == pytest.approx(points(20), rel=0.2)
    assert bleedless > 5 * fullness
    bleedless, fullness = scores(reference, reference + other)
    assert bleedless < 30
    assert scores(reference, reference + 0.3 * other)[0] > bleedless


def test_pauses_are_80_db_deep() -> None:
    reference = noise()
    reference[..., 15000:] = 0
    hiss = noise(seed=1)
    hiss[..., :15000] = 0
    # below the floor it is not heard; above, it counts by how much
    assert scores(reference, reference + 1e-6 * hiss)[0] > 90
    bleedless = [scores(reference, reference + level * hiss)[0] for level in (1e-2, 1e-1)]
    decibels = [100 / score - 1 for score in bleedless]
    assert 20 < decibels[0] < 40
    assert 10 < decibels[1] - decibels[0] < 20


def test_a_perfect_estimate_of_a_song_with_pauses(make_song: MakeSong) -> None:
    song = make_song(sources=1)
    assert scores(song, song) == (100, 100)


def test_multiresolution_is_a_mean_of_its_own_names() -> None:
    class Single(MultiResolutionBleedFull):
        n_ffts = (4096,)

    reference, estimate = noise(), noise() + 0.1 * noise(seed=1)
    single = Single().score(reference, estimate, 44100)
    plain = BleedFull().score(reference, estimate, 44100)
    assert single["bleedless_mr"] == plain["bleedless"]
    assert single["fullness_mr"] == plain["fullness"]

    of_each = []
    for n_fft in (1024, 2048, 4096, 8192):
        Single.n_ffts = (n_fft,)
        of_each.append(Single().score(reference, estimate, 44100)["bleedless_mr"])
    whole = MultiResolutionBleedFull().score(reference, estimate, 44100)["bleedless_mr"]
    torch.testing.assert_close(whole, torch.stack(of_each).mean(dim=0))


def test_the_mixture_is_a_bar_for_bleedless_alone() -> None:
    for metric in (BleedFull(), MultiResolutionBleedFull()):
        bleedless, fullness = metric.measures
        assert (bleedless.has_baseline, fullness.has_baseline) == (True, False)
        assert "d > 0" in bleedless.definition
        assert "d < 0" in fullness.definition
