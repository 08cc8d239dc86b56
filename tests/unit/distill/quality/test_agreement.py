"""Agreement: closed forms, and changes that are taken back exactly."""

import math

import pytest
import torch
from torch import Tensor

from mss.distill.quality.agreement import Variant, agreement, draw_variants, separate_variant
from mss.distill.quality.ratio import LIMIT_DB, Ratio, distortion, undefined

NOISE = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))


def lag(mix: Tensor) -> Tensor:
    """A separator that is linear, the same at any time and for both channels: filters."""
    late = torch.cat([torch.zeros(len(mix), 1), mix[:, :-1]], dim=1)
    return torch.stack([0.75 * mix + 0.25 * late, 0.25 * mix - 0.25 * late])


def test_a_ratio_is_bounded_and_undefined_only_where_nothing_is_known():
    ratio = Ratio(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.1, 0.0, 1.0, 0.0]))
    assert ratio.db[:3].tolist() == pytest.approx([10, LIMIT_DB, -LIMIT_DB])
    assert math.isnan(ratio.db[3])
    # energies add up, not decibels; what is not known changes nothing
    both = ratio + Ratio(*(torch.full((4,), value) for value in (1.0, 1.9))) + undefined(4)
    assert both.db[0].item() == pytest.approx(0)


def test_distortion_is_the_sdr():
    estimate = 0.9 * NOISE[None]
    assert distortion(NOISE[None], estimate).db.item() == pytest.approx(20, abs=1e-4)


def test_estimates_that_differ_by_a_known_amount():
    base = NOISE[None]
    # +d and -d around the mean m: |m|^2 / |d|^2
    found = agreement([1.1 * base, 0.9 * base]).db
    assert found.item() == pytest.approx(20, abs=1e-4)
    # the errors of all are averaged as energies: 0.1^2, 0.1^2, 0
    found = agreement([1.1 * base, 0.9 * base, base]).db
    assert found.item() == pytest.approx(10 * math.log10(3 / 0.02), abs=1e-4)


def test_each_source_has_its_own_agreement():
    steady, shaky = NOISE, NOISE.flip(1)
    found = agreement([torch.stack([steady, 1.1 * shaky]), torch.stack([steady, 0.9 * shaky])]).db
    assert found.tolist() == pytest.approx([LIMIT_DB, 20], abs=1e-4)


@pytest.mark.parametrize(
    "variant",
    [Variant(shift=7), Variant(swap=True), Variant(negate=True), Variant(20, True, True)],
    ids=str,
)
def test_changes_are_taken_back(variant):
    """A separator that is linear and the same everywhere gives the same estimates, but for its
    start, where it has heard nothing before."""
    before = 20
    expected = lag(NOISE[:, before:])
    found = separate_variant(lag, NOISE, before, variant)
    torch.testing.assert_close(found[..., 1:], expected[..., 1:])


def test_variants_are_what_the_separator_hears():
    heard = []

    def listen(mix):
        heard.append(mix)
        return mix[None]

    for variant in (Variant(shift=5), Variant(swap=True), Variant(negate=True)):
        separate_variant(listen, NOISE, 20, variant)
    assert torch.equal(heard[0], NOISE[:, 15:])
    assert torch.equal(heard[1], NOISE[:, 20:].flip(0))
    assert torch.equal(heard[2], -NOISE[:, 20:])


def test_variants_are_drawn_by_seed_and_place():
    drawn = draw_variants(4, 1000, channels=2, seed=0, start=0)
    assert drawn == draw_variants(4, 1000, channels=2, seed=0, start=0)
    assert drawn != draw_variants(4, 1000, channels=2, seed=1, start=0)
    assert drawn != draw_variants(4, 1000, channels=2, seed=0, start=6000)
    shifts = [variant.shift for variant in drawn[:4]]
    assert all(1 <= shift <= 1000 for shift in shifts)
    assert drawn[4:] == (Variant(negate=True), Variant(swap=True))
    assert Variant(swap=True) not in draw_variants(4, 1000, channels=1, seed=0, start=0)
