"""What linear separators make of their own estimates has a closed form."""

import math

import pytest
import torch

from mss.distill.quality.ratio import LIMIT_DB
from mss.distill.quality.reseparation import (
    GAIN_DB,
    Remix,
    draw_remix,
    remix_cycle,
    reseparate,
)

GAINS = (0.75, 0.2)
STEMS = torch.randn(2, 2, 400, generator=torch.Generator().manual_seed(0))
CORE = slice(50, 350)


def linear(mix):
    """Sources that are the mixture at fixed gains."""
    return torch.stack([gain * mix for gain in GAINS])


def by_sign(mix):
    """A perfect separator of what is above and what is below zero."""
    return torch.stack([mix.clamp_min(0), mix.clamp_max(0)])


def db(ratio):
    return 10 * math.log10(ratio)


def test_reseparation_of_a_linear_separator():
    """f(f_i)_i = a_i f_i, so its SDR is 1 / (1 - a_i)^2; the others hold a_j f_i."""
    found = reseparate(linear, STEMS, CORE)
    assert found.kept.db.tolist() == pytest.approx(
        [db(1 / (1 - gain) ** 2) for gain in GAINS], abs=1e-3
    )
    assert found.leaked.db.tolist() == pytest.approx(
        [db(GAINS[1] ** 2), db(GAINS[0] ** 2)], abs=1e-3
    )


def test_a_perfect_separator_keeps_its_estimates():
    stems = torch.stack([STEMS[0].abs(), -STEMS[1].abs()])
    found = reseparate(by_sign, stems, CORE)
    assert found.kept.db.tolist() == [LIMIT_DB] * 2
    assert found.leaked.db.tolist() == [-LIMIT_DB] * 2


def test_only_the_core_counts():
    stems = STEMS.clone()
    stems[..., 350:] = 100.0  # by_sign would lose the half of it
    stems[1, :, 50:350] *= -1
    outside = reseparate(by_sign, stems, CORE)
    stems[..., 350:] = 0.0
    inside = reseparate(by_sign, stems, CORE)
    assert torch.equal(outside.kept.db, inside.kept.db)


def test_a_single_source_has_nowhere_to_leak():
    found = reseparate(lambda mix: 0.5 * mix[None], STEMS[:1], CORE)
    assert found.kept.db.item() == pytest.approx(db(4), abs=1e-3)
    assert math.isnan(found.leaked.db.item())


def test_the_remix_of_a_linear_separator():
    """Estimates a_i x at gains g_i: f gives a_i sum_j g_j a_j x where g_i a_i x was."""
    gains = (2.0, 0.5)
    estimates = linear(STEMS[0])
    found = remix_cycle(linear, estimates, Remix(gains, (0, 0)), CORE).db
    total = sum(g * a for g, a in zip(gains, GAINS, strict=True))
    expected = [db(gain**2 / (gain - total) ** 2) for gain in gains]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


def test_sources_of_a_remix_are_out_of_step():
    heard = []

    def listen(mix):
        heard.append(mix)
        return torch.stack([mix, mix])

    remix_cycle(listen, STEMS, Remix((2.0, 1.0), (10, -20)), CORE)
    expected = 2 * STEMS[0, :, 40:340] + STEMS[1, :, 70:370]
    torch.testing.assert_close(heard[0][..., CORE], expected)


def test_a_perfect_separator_finds_the_sources_of_a_remix():
    """Sources of which one is always silent where the other plays."""
    stems = torch.zeros(2, 2, 400)
    stems[0, :, 100:200] = STEMS[0, :, 100:200].abs()
    stems[1, :, 250:300] = -STEMS[1, :, 250:300].abs()
    found = remix_cycle(by_sign, stems, Remix((0.6, 1.7), (20, -20)), CORE)
    assert found.db.tolist() == [LIMIT_DB] * 2


def test_remixes_are_drawn_by_seed_and_place():
    drawn = draw_remix(4, 100, seed=0, start=0)
    assert drawn == draw_remix(4, 100, seed=0, start=0)
    assert drawn not in (draw_remix(4, 100, seed=1, start=0), draw_remix(4, 100, seed=0, start=1))
    assert len(set(drawn.gains)) == 4
    assert all(abs(db(gain**2)) <= GAIN_DB for gain in drawn.gains)
    assert all(-100 <= shift <= 100 for shift in drawn.shifts)
