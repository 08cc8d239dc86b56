from fractions import Fraction
from typing import Any

import pytest

from mss.core.errors import ConfigError
from mss.core.registry import make_config
from mss.core.types import AudioSpec, InferenceDefaults
from mss.models.hdemucs import HDemucsConfig
from mss.models.htdemucs import HTDemucsConfig
from mss.release.importers.demucs_msst import (
    demucs_from_msst,
    hdemucs_from_msst,
    htdemucs_from_msst,
)


def options(model: str = "htdemucs", **own: Any) -> dict[str, Any]:
    return {
        "audio": {"chunk_size": 485100, "min_mean_abs": 0.001},
        "training": {
            "segment": 11,
            "samplerate": 44100,
            "channels": 2,
            "normalize": True,
            "instruments": ["vocals", "other"],
            "target_instrument": None,
            "lr": 9.0e-05,
        },
        "augmentations": {"mixup_probs": (0.2, 0.02)},
        "inference": {"num_overlap": 4},
        "model": model,
        model: own,
    }


def test_htdemucs_as_its_yaml_says() -> None:
    # 1e-3 is a text in YAML 1.1
    own = {"dconv_mode": 3, "bottom_channels": 512, "dconv_init": "1e-3", "num_subbands": 1}
    imported = htdemucs_from_msst(options(**own, t_lr=None, multi_freqs=[]), {})
    config = make_config(HTDemucsConfig, imported.config, "model")
    assert (config.dconv_mode, config.bottom_channels, config.dconv_init) == (3, 512, 1e-3)
    assert config.segment == Fraction(11)
    assert not config.use_train_segment  # MSST's default, not demucs's
    assert imported.spec == AudioSpec(("vocals", "other"), 44100, 2)


def test_hdemucs_as_its_yaml_says() -> None:
    imported = hdemucs_from_msst(options("hdemucs", dconv_init=0.001, channels_time=None), {})
    config = make_config(HDemucsConfig, imported.config, "model")
    assert (config.channels, config.dconv_comp, config.dconv_init) == (48, 4, 1e-3)
    assert imported.arch == "hdemucs"
    assert demucs_from_msst(options("demucs"), {}).arch == "demucs"


def test_files_are_run_as_msst_does() -> None:
    # chunks are averaged with equal weights; training.normalize says nothing about that
    expected = InferenceDefaults(Fraction(11), overlap=0.75, window="flat", normalise="none")
    assert htdemucs_from_msst(options(), {}).inference == expected
    normalised = options()
    normalised["inference"]["normalize"] = True
    inference = htdemucs_from_msst(normalised, {}).inference
    assert inference is not None
    assert inference.normalise == "file_mono_std"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"num_subbands": 4}, r"htdemucs\.num_subbands: 4"),
        ({"t_emb": "scaled"}, r"htdemucs\.t_emb"),
        ({"channel": 48}, r"htdemucs\.channel: "),
    ],
)
def test_what_we_cannot_honour_is_named(own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        htdemucs_from_msst(options(**own), {})


def test_a_yaml_with_something_missing() -> None:
    for key in ("training", "htdemucs", "inference"):
        broken = options()
        del broken[key]
        with pytest.raises(ConfigError, match=f"^{key}: "):
            htdemucs_from_msst(broken, {})
    for key in ("instruments", "segment", "samplerate", "channels"):
        broken = options()
        del broken["training"][key]
        with pytest.raises(ConfigError, match=rf"^training\.{key}: "):
            htdemucs_from_msst(broken, {})
    with pytest.raises(ConfigError, match=r"^model: 'hdemucs' is not 'htdemucs'"):
        htdemucs_from_msst(options("hdemucs"), {})
    broken = options()
    broken["inference"]["num_overlap"] = 0
    with pytest.raises(ConfigError, match=r"^inference\.num_overlap"):
        htdemucs_from_msst(broken, {})
