"""The chain of a loader's workers that a configuration names."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from mss.augment.chain import make_batch_augments
from mss.augment.loader import (
    LoaderAugment,
    LoaderAugmentConfig,
    LoaderAugments,
    make_loader_augment,
)
from mss.augment.soundstretch import SoundStretch
from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.rng import numpy_generator
from mss.core.types import AudioSpec

SPEC = AudioSpec(("drums", "vocals"), samplerate=8000)


@dataclass(frozen=True)
class DropConfig(LoaderAugmentConfig):
    frames: int = 3


class Drop(LoaderAugment):
    """Leave out the first samples, and add a number that is drawn."""

    Config = DropConfig
    name = "drop"

    def input_frames(self, frames: int) -> int:
        return frames + self.config.frames

    def __call__(
        self, stems: Tensor, names: Sequence[str], frames: int, generator: np.random.Generator
    ) -> Tensor:
        assert stems.shape[-1] == self.input_frames(frames)
        return stems[..., self.config.frames :] + generator.integers(100)


class Twice(LoaderAugment):
    """Play twice as fast: every other sample, times ten."""

    name = "twice"
    backend = "slicing"

    def input_frames(self, frames: int) -> int:
        return 2 * frames

    def __call__(
        self, stems: Tensor, names: Sequence[str], frames: int, generator: np.random.Generator
    ) -> Tensor:
        assert stems.shape[-1] == self.input_frames(frames)
        return 10 * stems[..., ::2]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for toy in (Drop, Twice):
        target = f"{toy.__module__}:{toy.__name__}"
        monkeypatch.setitem(registry.BUILTIN["loader_augment"], toy.name, target)


def chain(*names: str) -> LoaderAugments:
    found = make_loader_augment(dict.fromkeys(names), SPEC)
    assert found is not None
    return found


def test_members_act_in_order_on_what_the_next_ones_need() -> None:
    """Each order reads a length of its own: 2 (T + 3), or 2 T + 3."""
    stems = torch.arange(200.0).view(1, 1, 200)
    generator, draws = np.random.default_rng(0), np.random.default_rng(0)
    first = chain("twice", "drop").for_segments(10)
    assert first.extra_frames == 16
    expected = 10 * stems[..., :26:2][..., 3:] + draws.integers(100)
    assert torch.equal(first(stems[..., :26], ("drums",), generator), expected)
    second = chain("drop", "twice").for_segments(10)
    assert second.extra_frames == 13
    expected = 10 * (stems[..., :23][..., 3:] + draws.integers(100))[..., ::2]
    assert torch.equal(second(stems[..., :23], ("drums",), generator), expected)


def test_a_chain_serves_segments_of_any_length() -> None:
    members = chain("drop", "twice")
    assert [members.for_segments(frames).extra_frames for frames in (1, 10, 100)] == [4, 13, 103]


def test_only_members_with_a_choice_name_what_they_work_with() -> None:
    assert chain("drop", "twice").backends == {"twice": "slicing"}


def test_nothing_that_acts_is_no_chain() -> None:
    assert make_loader_augment({}, SPEC) is None
    assert make_loader_augment({"drop": {"proba": 0}}, SPEC) is None
    with pytest.raises(ConfigError, match=r"augment\.loader\.drop\.frame:.*'frames'"):
        make_loader_augment({"drop": {"proba": 0, "frame": 1}}, SPEC)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sound_stretch": {}}, r"augment\.loader\.sound_stretch.*'soundstretch'"),
        ({"soundstretch": {"proba": 1.5}}, r"augment\.loader\.soundstretch\.proba"),
        ({"soundstretch": {"max_pitch": 0.5}}, r"augment\.loader\.soundstretch\.max_pitch"),
        ({"soundstretch": {"max_tempo": -1}}, r"augment\.loader\.soundstretch\.max_tempo"),
        ({"soundstretch": {"max_tempo": 100}}, r"augment\.loader\.soundstretch\.max_tempo"),
        ({"soundstretch": {"tempo_std": float("inf")}}, r"soundstretch\.tempo_std"),
        ({"soundstretch": {"vocals": "vocals"}}, r"augment\.loader\.soundstretch\.vocals"),
        ({"soundstretch": {"backend": "sox"}}, r"augment\.loader\.soundstretch\.backend"),
    ],
)
def test_wrong_values_name_their_key(values: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_loader_augment(values, SPEC)


def test_the_yaml_is_the_defaults_and_the_batch_of_the_default_one(repository: Path) -> None:
    folder = repository / "conf" / "augment"
    default, found = (
        yaml.safe_load((folder / f"{name}.yaml").read_text())
        for name in ("default", "soundstretch")
    )
    assert found["batch"] == default["batch"]
    assert list(found["batch"]) == list(default["batch"])  # they act in this order
    make_batch_augments(found["batch"], SPEC)
    keys = found["loader"]["soundstretch"]
    config = registry.make_config(SoundStretch.Config, keys, "augment.loader.soundstretch")
    assert config == SoundStretch.Config()
    assert set(keys) == set(registry.dump_config(config))


def test_a_chain_can_be_sent_to_a_worker(backend: str) -> None:
    found = make_loader_augment({"soundstretch": {"proba": 1, "backend": backend}}, SPEC)
    assert found is not None
    here = found.for_segments(400)
    there = pickle.loads(pickle.dumps(here))
    stems = torch.randn(2, 1, 400 + here.extra_frames, generator=torch.Generator().manual_seed(0))
    results = [one(stems, SPEC.sources, numpy_generator(1, "test")) for one in (here, there, there)]
    assert all(torch.equal(result, results[0]) for result in results)
    assert results[0].shape == (2, 1, 400)
