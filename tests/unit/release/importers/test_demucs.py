from fractions import Fraction
from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.registry import make_config
from mss.core.types import AudioSpec
from mss.models.demucs import Demucs, DemucsConfig
from mss.models.hdemucs import HDemucs, HDemucsConfig
from mss.models.htdemucs import HTDemucs, HTDemucsConfig
from mss.release.importers.demucs import KLASSES
from mss.release.importers.imported import Imported

SOURCES = ["drums", "bass", "other", "vocals"]
CONFIGS = {"HDemucs": HDemucsConfig, "HTDemucs": HTDemucsConfig, "Demucs": DemucsConfig}


def translate(klass: str, *args: Any, **kwargs: Any) -> Imported:
    return KLASSES[klass]({"args": list(args), "kwargs": kwargs}, {})


@pytest.mark.parametrize("klass", KLASSES)
def test_every_key_of_our_config_is_stated(klass: str) -> None:
    # what demucs leaves out has demucs's default, never ours
    imported = translate(klass, SOURCES)
    config_class = CONFIGS[klass]
    assert set(imported.config) == set(config_class.__dataclass_fields__)
    make_config(config_class, imported.config, "model")


def test_defaults_are_those_of_demucs_where_ours_differ() -> None:
    config = translate("HTDemucs", SOURCES).config
    assert (config["dconv_mode"], config["bottom_channels"], config["t_dropout"]) == (1, 0, 0.0)
    assert config["segment"] == "10"
    with torch.device("meta"):
        model = HTDemucs(make_config(HTDemucsConfig, config, "model"), AudioSpec(tuple(SOURCES)))
    assert sum(p.numel() for p in model.parameters()) == 26_899_536


@pytest.mark.parametrize(
    "segment", [Fraction(39, 5), 7.8, {"_type": "fraction", "numerator": 39, "denominator": 5}]
)
def test_segments_are_exact(segment: Any) -> None:
    imported = translate("HTDemucs", sources=SOURCES, segment=segment)
    assert make_config(HTDemucsConfig, imported.config, "model").segment == Fraction(39, 5)


def test_arguments_by_position_and_spec() -> None:
    imported = translate("Demucs", SOURCES, 1, 32, samplerate=22050, depth=4)
    assert imported.spec == AudioSpec(tuple(SOURCES), samplerate=22050, channels=1)
    assert (imported.arch, imported.config["channels"]) == ("demucs", 32)
    assert imported.config["depth"] == 4


def test_half_precision_becomes_single() -> None:
    spec = AudioSpec(tuple(SOURCES))
    model = HDemucs.tiny(spec)
    half = {name: value.half() for name, value in model.state_dict().items()}
    state = KLASSES["HDemucs"]({"args": [SOURCES], "kwargs": {}}, half).state
    assert {value.dtype for value in state.values()} == {torch.float32}
    model.load_state_dict(state, strict=True)


def test_names_of_version_2_are_those_of_version_3() -> None:
    # version 2 had no norms, so that its rewriting convolutions stood one place earlier
    options = {"lstm_layers": 2, "dconv_mode": 0, "gelu": False, "norm_starts": 2}
    config = {"channels": 8, "depth": 2, **options}
    model = Demucs(make_config(DemucsConfig, config, "model"), AudioSpec(tuple(SOURCES)))
    state = model.state_dict()
    old = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] in ("encoder", "decoder") and parts[2] == "3":
            parts[2] = "2"
        old[".".join(parts)] = value
    assert old.keys() != state.keys()
    imported = KLASSES["Demucs"]({"args": [SOURCES], "kwargs": config}, old)
    model.load_state_dict(imported.state, strict=True)


def test_arguments_that_demucs_no_longer_knows_are_dropped_as_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    imported = translate("HDemucs", SOURCES, norm_everything=True)
    assert "norm_everything" not in imported.config
    assert "norm_everything" in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "key"),
    [
        ({"t_emb": "cape"}, "t_emb"),
        ({"t_sparse_self_attn": True}, "t_sparse_self_attn"),
        ({"t_sparse_cross_attn": True}, "t_sparse_cross_attn"),
        ({"t_norm_first": False}, "t_norm_first"),
        ({"t_gelu": False}, "t_gelu"),
        ({"cac": False}, "cac"),
        ({"multi_freqs": [0.5]}, "multi_freqs"),
        ({"channels_time": 24}, "channels_time"),
        ({"segment": "long"}, "segment"),
    ],
)
def test_what_we_cannot_honour_is_named(kwargs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"kwargs\.{key}: "):
        translate("HTDemucs", SOURCES, **kwargs)


def test_what_changes_no_result_is_ignored() -> None:
    plain = translate("HTDemucs", SOURCES)
    idle = {"t_lr": 1e-4, "t_weight_decay": 0.05, "t_mask_type": "jmask", "t_sparsity": 0.9}
    assert translate("HTDemucs", SOURCES, multi_freqs=[], **idle) == plain


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"kwargs\.sources"):
        translate("Demucs")
    with pytest.raises(ConfigError, match=r"kwargs\.channels: given twice"):
        translate("Demucs", SOURCES, 2, 64, channels=48)
    with pytest.raises(ConfigError, match=r"args: 99 arguments"):
        translate("HDemucs", *range(99))
