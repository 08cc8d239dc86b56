"""The layout of conf/ and what is made of it."""

import pytest

from mss import build
from mss.compose import CONF, compose_config
from mss.core.errors import ConfigError
from mss.core.registry import BUILTIN, dump_config, make_config, resolve
from mss.core.types import AudioSpec

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONAL = ("augment", "distill", "variant")


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_every_group_composes(group):
    for path in sorted((CONF / group).glob("*.yaml")):
        if group in ("slurm", "cluster"):  # chosen by the environment
            continue
        compose_config([f"{group}={path.stem}"])


def test_every_optional_group_has_a_none():
    for group in OPTIONAL:
        assert (CONF / group / "none.yaml").is_file(), group


@pytest.mark.parametrize(
    ("group", "kind"), [(name, name) for name in ("loss", "optim", "schedule", "distill")]
)
def test_a_yaml_holds_every_key_with_the_default_of_its_class(group, kind):
    """So that every key can be overridden, and Python and yaml mean the same thing."""
    names = set()
    for path in sorted((CONF / group).glob("*.yaml")):
        values = build._plain(compose_config([f"{group}={path.stem}"]), group)
        name = values.pop("name")
        if name == "none":
            continue
        names.add(name)
        config_class = resolve(kind, name).Config
        made = make_config(config_class, values, group)
        assert set(values) == set(dump_config(made)), path.name
        if name != "adamw":  # whose decay is the usual one, where adam's is none
            assert made == config_class(), path.name
    assert names == set(BUILTIN[kind])


def test_locked_values_hold_what_makes_a_result_and_nothing_else():
    base = build.locked_values(compose_config())
    assert {"model", "train", "optim", "dset", "seed"} <= set(base)
    assert not {"misc", "cluster", "slurm", "dora", "hydra"} & set(base)
    assert not {"root", "cache"} & set(base["dset"])
    moved = ["dset.root=elsewhere", "misc.threads=3", "dset.cache=int16"]
    assert build.locked_values(compose_config(moved)) == base
    assert build.locked_values(compose_config(["optim.lr=1"])) != base


def test_debug_and_demo_override_the_groups():
    assert compose_config(["variant=debug"]).train.epochs == 2
    demo = compose_config(["variant=demo"])
    assert demo.model.name == "openunmix"
    assert demo.schedule.name == "cosine"


def test_a_model_is_built_for_the_sources_of_the_targets():
    cfg = compose_config(["model=openunmix_tiny", "targets=vocals_accompaniment"])
    targets = build.build_target_map(cfg, ("drums", "bass", "other", "vocals"))
    model = build.build_model(cfg, AudioSpec(targets.sources))
    assert model.spec.sources == ("vocals", "accompaniment")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ConfigError, match=r"misc\.device"):
        build.choose_device(name)


def test_a_batch_that_the_remix_can_not_share():
    cfg = compose_config(["train.batch_size=6"])
    train = build._typed(cfg, "train", build.TrainConfig)
    augments = build.build_augments(cfg, AudioSpec(("a",)))
    with pytest.raises(ConfigError, match=r"train\.batch_size: 6 .*group_size"):
        build._check_batch(train, augments.batch_multiple)
