"""Overrides that do not fit are told with the nearest that does."""

import pytest

from mss.compose import compose_config
from mss.core.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hiden=3", r"^model\.hiden: there is no such key"),
        ("model.chanels=3", r"Did you mean 'model\.channels'"),
        ("trian.epochs=3", r"Did you mean 'train\.epochs'"),
        ("model=hdemux", r"^model=hdemux: no such choice\. Did you mean 'hdemucs'"),
        ("modle=hdemucs", r"modle.*Did you mean 'model'"),
        ("epochs", r"^epochs: not an override; write key=value"),
        ("train.epochs=[1", r"train\.epochs=\[1: can't be read as key=value"),
        ("dset.root=~/songs", r"dset\.root=~/songs: can't be read.*quotes"),
        ("loss.weights.vocals=2", r"write \+loss\.weights\.vocals="),
        ("slurm.gpus=4", r"slurm\.gpus: has no effect .*MSS_SLURM"),
        ("cluster=elsewhere", r"MSS_CLUSTER"),
        ("dora.dir=/x", r"STEMGRID_OUTPUTS"),
    ],
)
def test_a_wrong_override(override, message):
    with pytest.raises(ConfigError, match=message):
        compose_config([override])


def test_the_nearest_key_is_that_of_the_chosen_group():
    with pytest.raises(ConfigError, match=r"Did you mean 'model\.hidden_size'"):
        compose_config(["model=openunmix", "model.hiden_size=3"])


def test_two_wrong_overrides_are_no_traceback():
    with pytest.raises(ConfigError, match="no such"):
        compose_config(["dset.bogus=1", "model=hdemux"])
    with pytest.raises(ConfigError, match="no such"):
        compose_config(["modl=a", "dsett=b"])


def test_a_member_can_be_added_to_an_open_mapping():
    assert compose_config(["+loss.weights.vocals=2"]).loss.weights == {"vocals": 2}


def test_without_a_clone_the_lab_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("mss.compose.CONF", tmp_path / "conf")
    with pytest.raises(ConfigError, match="clone"):
        compose_config()
