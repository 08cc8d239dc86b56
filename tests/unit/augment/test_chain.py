"""The chain that a configuration names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from mss.augment.batch import AugmentKey, FlipSign, Remix, RemixConfig, Scale
from mss.augment.chain import BatchAugments, make_batch_augments
from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, Batch

SPEC = AudioSpec(("drums", "vocals"), samplerate=100)
KEY = AugmentKey(1, 2, 3)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    stems = torch.randn(4, 2, 2, 150, generator=generator)
    trust = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0], [1.0, 1.0]])
    return Batch(stems.sum(dim=1), stems, SPEC.sources, trust)


def test_members_act_in_the_order_of_the_mapping() -> None:
    given = batch().stems
    chain = make_batch_augments({"scale": {"min": 0.5}, "remix": None, "flip_sign": {}}, SPEC)
    assert [type(augment) for augment in chain.augments] == [Scale, Remix, FlipSign]
    expected = given
    for augment in chain.augments:
        expected = augment(expected, KEY)
    assert torch.equal(chain(given, KEY), expected)


def test_probability_zero_builds_nothing_but_is_checked() -> None:
    chain = make_batch_augments({"shift": {"proba": 0}, "remix": {"proba": 0}}, SPEC)
    assert chain.augments == ()
    assert chain.extra_frames == 0
    assert chain.batch_multiple == 1
    with pytest.raises(ConfigError, match=r"augment\.batch\.shift\.second:.*'seconds'"):
        make_batch_augments({"shift": {"proba": 0, "second": 1}}, SPEC)


def test_what_the_chain_asks_for() -> None:
    chain = make_batch_augments({"shift": {"seconds": 0.29}, "remix": {"group_size": 6}}, SPEC)
    assert chain.extra_frames == 29  # 0.29 * 100 in binary floats is 28.999...
    assert chain.batch_multiple == 6


def test_a_batch_keeps_its_mix_and_labels_right() -> None:
    given = batch()
    chain = make_batch_augments({"shift": {"seconds": 0.5}, "remix": {}, "scale": {}}, SPEC)
    augmented = chain.apply(given, KEY)
    assert augmented.stems.shape == (4, 2, 2, 100)
    assert torch.equal(augmented.stems, chain(given.stems, KEY))
    assert torch.equal(augmented.mix, augmented.stems.sum(dim=1))
    assert torch.equal(augmented.trust, chain.augments[1].move_labels(given.trust, KEY))
    assert augmented.trust.sum() == given.trust.sum()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"remx": {}}, r"remx.*'remix'"),
        ({"remix": {"proba": 1.5}}, r"augment\.batch\.remix\.proba"),
        ({"flip_sign": {"proba": -0.1}}, r"augment\.batch\.flip_sign\.proba"),
        ({"remix": {"group_size": 1}}, r"augment\.batch\.remix\.group_size"),
        ({"shift": {"seconds": -1}}, r"augment\.batch\.shift\.seconds"),
        ({"scale": {"max": float("inf")}}, r"augment\.batch\.scale\.max"),
    ],
)
def test_wrong_values_name_their_key(values: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_batch_augments(values, SPEC)


def test_the_yaml_files_fit(repository: Path) -> None:
    built = {}
    for name in ("none", "default"):
        values = yaml.safe_load((repository / "conf" / "augment" / f"{name}.yaml").read_text())
        built[name] = make_batch_augments(values["batch"], AudioSpec(SPEC.sources))
    assert built["none"].augments == ()
    assert [augment.name for augment in built["default"].augments] == [
        "shift",
        "flip_channels",
        "flip_sign",
        "scale",
        "remix",
    ]
    assert built["default"].extra_frames == 44100


def test_stems_stay_with_the_recording_that_they_were_mixed_with() -> None:
    """Remix exchanges labelled items alone; a recording is cut as the stems are, and kept."""
    given = batch()
    rest = torch.zeros_like(given.mix)
    rest[2:] = 0.3
    bound = replace(given, rest=rest, mix=given.mix + rest)
    chain = BatchAugments([Remix(RemixConfig(group_size=2), SPEC)])
    seen = set()
    for step in range(20):
        augmented = chain.apply(bound, AugmentKey(0, 0, step))
        assert torch.equal(augmented.stems[2:], given.stems[2:])
        assert torch.equal(augmented.trust[2:], given.trust[2:])
        assert torch.equal(augmented.rest, rest)
        torch.testing.assert_close(augmented.mix, augmented.stems.sum(dim=1) + rest)
        seen.add(torch.equal(augmented.stems[:2], given.stems[:2]))
    assert seen == {True, False}
