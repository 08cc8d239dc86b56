"""What each augmentation keeps, and that ranks change nothing."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mss.augment.batch import (
    AugmentKey,
    BatchAugment,
    FlipChannels,
    FlipConfig,
    FlipSign,
    Remix,
    RemixConfig,
    Scale,
    ScaleConfig,
    Shift,
    ShiftConfig,
)
from mss.core.errors import ConfigError
from mss.core.types import AudioSpec

SPEC = AudioSpec(("drums", "vocals", "other"), samplerate=100)
KEY = AugmentKey(seed=7, epoch=3, step=11)


def stems(items: int = 8, frames: int = 64) -> Tensor:
    return torch.randn(items, 3, 2, frames, generator=torch.Generator().manual_seed(0))


ALL: list[BatchAugment] = [
    Shift(ShiftConfig(seconds=Fraction(1, 4)), SPEC),
    FlipChannels(FlipConfig(), SPEC),
    FlipSign(FlipConfig(), SPEC),
    Scale(ScaleConfig(), SPEC),
    Remix(RemixConfig(), SPEC),
]
each = pytest.mark.parametrize("augment", ALL, ids=[augment.name for augment in ALL])


@each
def test_one_key_one_result(augment: BatchAugment) -> None:
    given = stems()
    kept = given.clone()
    first = augment(given, KEY)
    assert torch.equal(given, kept)  # the input is not written to
    assert torch.equal(first, augment(given, KEY))
    for other in (AugmentKey(8, 3, 11), AugmentKey(7, 4, 11), AugmentKey(7, 3, 12)):
        assert not torch.equal(first, augment(given, other))


@each
def test_ranks_change_nothing(augment: BatchAugment) -> None:
    given = stems()
    whole = augment(given, KEY)
    first = augment(given[:4], KEY)
    second = augment(given[4:], AugmentKey(KEY.seed, KEY.epoch, KEY.step, first_item=4))
    assert torch.equal(torch.cat([first, second]), whole)
    # equal items at other places get other draws
    assert not torch.equal(augment(given[:4], AugmentKey(7, 3, 11, first_item=4)), first)


def test_shift_crops_each_stem_inside_the_segment() -> None:
    # a ramp tells the offset
    ramp = torch.arange(64.0).expand(200, 3, 2, 64)
    shift = Shift(ShiftConfig(seconds=Fraction(1, 4)), SPEC)
    assert shift.extra_frames == 25
    shifted = shift(ramp, KEY)
    assert shifted.shape == (200, 3, 2, 39)
    offsets = shifted[..., 0]
    assert torch.equal(shifted, offsets[..., None] + torch.arange(39.0))
    assert torch.equal(offsets[..., 0], offsets[..., 1])  # channels stay together
    assert set(offsets.unique().tolist()) == set(range(26))  # both ends are reached
    assert (offsets[:, 0] != offsets[:, 1]).any()


def test_shift_same_keeps_the_stems_in_time() -> None:
    ramp = torch.arange(64.0).expand(20, 3, 2, 64)
    offsets = Shift(ShiftConfig(seconds=Fraction(1, 4), same=True), SPEC)(ramp, KEY)[..., 0]
    assert torch.equal(offsets, offsets[:, :1, :1].expand(20, 3, 2))
    assert len(offsets.unique()) > 1


def test_shift_longer_than_the_segment() -> None:
    with pytest.raises(ConfigError, match=r"augment\.batch\.shift\.seconds"):
        Shift(ShiftConfig(seconds=Fraction(1)), SPEC)(stems(), KEY)


def test_flips_keep_each_stem_up_to_the_flip() -> None:
    given = stems(200)
    swapped = FlipChannels(FlipConfig(), SPEC)(given, KEY)
    acted = (swapped != given).flatten(2).any(dim=2)
    assert torch.equal(swapped[acted], given[acted][:, [1, 0]])
    # 600 draws of probability 1/2: within 5 standard deviations
    assert abs(acted.float().mean().item() - 0.5) < 5 * 0.5 / 600**0.5

    inverted = FlipSign(FlipConfig(), SPEC)(given, KEY)
    acted = (inverted != given).flatten(2).any(dim=2)
    assert torch.equal(inverted[acted], -given[acted])
    assert torch.equal(inverted[~acted], given[~acted])
    assert abs(acted.float().mean().item() - 0.5) < 5 * 0.5 / 600**0.5
    assert torch.equal(inverted.square().sum(), given.square().sum())


def test_flips_with_other_probabilities() -> None:
    given = stems()
    assert torch.equal(FlipSign(FlipConfig(proba=1), SPEC)(given, KEY), -given)
    mono = AudioSpec(SPEC.sources, samplerate=100, channels=1)
    one = given[:, :, :1]
    assert torch.equal(FlipChannels(FlipConfig(proba=1), mono)(one, KEY), one)
    with pytest.raises(ConfigError, match="6 channels"):
        FlipChannels(FlipConfig(), AudioSpec(SPEC.sources, channels=6))


def test_scale_gains_are_in_range_and_per_stem() -> None:
    given = stems(200)
    scaled = Scale(ScaleConfig(min=0.5, max=2), SPEC)(given, KEY)
    gains = scaled / given
    first = gains[:, :, :1, :1]
    # quotient of rounded products: a few ulps
    torch.testing.assert_close(gains, first.expand_as(gains), rtol=1e-6, atol=0)
    assert gains.min() >= 0.5 * (1 - 1e-6)
    assert gains.max() <= 2 * (1 + 1e-6)
    # 600 uniform draws come near both ends (a miss of 5 % of the range: 0.95^600 = 4e-14)
    assert gains.min() < 0.575
    assert gains.max() > 1.925
    with pytest.raises(ConfigError, match=r"augment\.batch\.scale\.min"):
        Scale(ScaleConfig(min=2, max=1), SPEC)


def test_scale_acts_on_a_share_of_the_items() -> None:
    given = stems(400)
    scaled = Scale(ScaleConfig(proba=0.25), SPEC)(given, KEY)
    untouched = (scaled == given).flatten(2).all(dim=2)
    assert torch.equal(untouched.all(dim=1), untouched.any(dim=1))  # an item as a whole
    assert abs(untouched[:, 0].float().mean().item() - 0.75) < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_remix_permutes_each_stem_within_its_group() -> None:
    labels = torch.arange(8.0)[:, None] * 10 + torch.arange(3.0)  # item * 10 + stem
    given = labels[:, :, None, None].expand(8, 3, 2, 16)
    remixed = Remix(RemixConfig(group_size=4), SPEC)(given, KEY)[:, :, 0, 0]
    assert torch.equal(remixed % 10, labels % 10)  # drums stay drums
    for group in (slice(0, 4), slice(4, 8)):
        for stem in range(3):
            assert sorted(remixed[group, stem].tolist()) == labels[group, stem].tolist()


def test_remix_permutations_are_uniform_and_independent() -> None:
    remix = Remix(RemixConfig(group_size=2), SPEC)
    given = torch.arange(2000.0)[:, None, None, None].expand(2000, 3, 1, 1)
    swapped = (remix(given, KEY)[..., 0, 0] != given[..., 0, 0])[::2].float()  # [1000, 3]
    deviation = 0.5 / 1000**0.5
    assert (swapped.mean(dim=0) - 0.5).abs().max() < 5 * deviation
    both = (swapped[:, 0] * swapped[:, 1]).mean().item()
    assert abs(both - 0.25) < 5 * (0.25 * 0.75 / 1000) ** 0.5


def test_remix_moves_the_labels_with_the_stems() -> None:
    labelled = torch.rand(8, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    given = labelled[:, :, None, None].float().expand(8, 3, 1, 4)
    remix = Remix(RemixConfig(), SPEC)
    moved = remix.move_labels(labelled, KEY)
    assert torch.equal(remix(given, KEY)[:, :, 0, 0] > 0, moved)
    assert not torch.equal(moved, labelled)


@pytest.mark.parametrize(("items", "first_item"), [(6, 0), (4, 2)])
def test_remix_needs_whole_groups(items: int, first_item: int) -> None:
    with pytest.raises(ConfigError, match=r"augment\.batch\.remix\.group_size"):
        Remix(RemixConfig(group_size=4), SPEC)(stems(items), AugmentKey(0, 0, 0, first_item))
