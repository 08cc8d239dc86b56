"""Leakage into silent frames."""

import math

import torch

from mss.metrics.silence import FLOOR_DB, leakage

RATE = 100


def test_leakage_is_the_estimates_power_where_the_reference_is_silent() -> None:
    reference = torch.randn(3, 2, 5 * RATE + 30, generator=torch.Generator().manual_seed(0))
    reference[1] = 0
    reference[2, :, RATE : 3 * RATE] = 0
    mixture = torch.full((2, 5 * RATE + 30), 0.5)
    estimate = torch.full_like(reference, 9.0)
    estimate[1] = 0.05  # 20 dB below the mixture
    estimate[2, :, RATE : 2 * RATE] = 0.05
    estimate[2, :, 2 * RATE : 3 * RATE] = 0
    leaks = leakage(reference, estimate, mixture, RATE)
    assert leaks.frames == 5
    assert leaks.silent.tolist() == [0, 5, 2]
    assert math.isnan(leaks.level[0])
    # float32 samples: their squares are right to 1e-7
    torch.testing.assert_close(
        leaks.level[1:],
        torch.tensor([-20.0, -20 + 10 * math.log10(0.5)]).double(),
        atol=1e-5,
        rtol=0,
    )


def test_a_frame_is_silent_only_if_all_of_it_is() -> None:
    reference = torch.zeros(1, 2, 3 * RATE)
    reference[0, 1, RATE] = 1e-9
    assert leakage(reference, reference, reference[0], RATE).silent.tolist() == [2]


def test_no_leakage_is_the_floor() -> None:
    silence = torch.zeros(1, 2, 3 * RATE)
    assert leakage(silence, silence, torch.ones(2, 3 * RATE), RATE).level.tolist() == [FLOOR_DB]
    # out of a silent mixture, too; but what is made out of nothing shows
    assert leakage(silence, silence, silence[0], RATE).level.tolist() == [FLOOR_DB]
    assert leakage(silence, silence + 0.1, silence[0], RATE).level.item() > 0


def test_the_level_does_not_matter() -> None:
    reference = torch.zeros(1, 1, 2 * RATE)
    estimate = torch.randn(1, 1, 2 * RATE, generator=torch.Generator().manual_seed(0))
    mixture = torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(1))
    loud = leakage(reference, estimate, mixture, RATE).level
    quiet = leakage(reference, estimate / 1024, mixture / 1024, RATE).level
    torch.testing.assert_close(loud, quiet, rtol=0, atol=1e-9)


def test_less_than_a_second_is_one_frame() -> None:
    reference = torch.zeros(1, 2, 30)
    leaks = leakage(reference, reference + 1, torch.ones(2, 30), RATE)
    assert (leaks.frames, leaks.silent.tolist(), leaks.level.tolist()) == (1, [1], [0.0])
