"""What the translation refuses; what it gives is tested against MSST in tests/parity."""

from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.registry import make_config
from mss.core.types import AudioSpec, InferenceDefaults
from mss.models.scnet import SCNetConfig
from mss.release.importers.scnet import scnet_from_msst

STEMS = ["drums", "bass", "other", "vocals"]


def options(target: str | None = None, stems: list[str] = STEMS, **model: Any) -> dict[str, Any]:
    return {
        "audio": {"chunk_size": 485100, "num_channels": 2, "sample_rate": 44100},
        "model": model,
        "training": {"instruments": stems, "target_instrument": target, "use_amp": True},
        "inference": {"batch_size": 8, "num_overlap": 4, "normalize": True},
    }


def test_what_a_yaml_leaves_out_has_the_published_value() -> None:
    imported = scnet_from_msst(options(), {})
    assert make_config(SCNetConfig, imported.config, "model") == SCNetConfig()
    assert imported.spec == AudioSpec(tuple(STEMS))
    assert imported.inference == InferenceDefaults(
        segment=SCNetConfig().segment, overlap=0.75, normalise="file_mono_std"
    )


def test_weights_in_half_precision_become_float32() -> None:
    state = {"encoder.0.globalconv.bias": torch.ones(3, dtype=torch.float16)}
    weights = scnet_from_msst(options(), state).state
    assert weights["encoder.0.globalconv.bias"].dtype == torch.float32


def test_only_the_last_decoder_layer_is_cut_to_a_target() -> None:
    state = {
        "decoder.1.1.convtrs.0.weight": torch.arange(16.0).view(1, 16, 1, 1),
        "decoder.1.1.convtrs.0.bias": torch.arange(16.0),
        "decoder.0.1.convtrs.0.bias": torch.arange(16.0),
    }
    imported = scnet_from_msst(options("bass", dims=[4, 8, 16]), state)
    assert imported.spec.sources == ("bass",)
    weights = imported.state
    assert weights["decoder.1.1.convtrs.0.weight"].flatten().tolist() == [4, 5, 6, 7]
    assert weights["decoder.1.1.convtrs.0.bias"].tolist() == [4, 5, 6, 7]
    assert weights["decoder.0.1.convtrs.0.bias"].numel() == 16


def test_a_model_of_its_target_alone_is_not_cut() -> None:
    state = {"decoder.2.1.convtrs.0.bias": torch.arange(4.0)}
    imported = scnet_from_msst(options("bass", sources=["bass"]), state)
    assert imported.spec.sources == ("bass",)
    assert imported.state["decoder.2.1.convtrs.0.bias"].numel() == 4


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (options(bandsplit_ratios=[0.2, 0.4, 0.4]), "model.bandsplit_ratios"),
        (options(hopsize=512), "model.hopsize: .* Did you mean 'hop_size'"),
        (options(win_size=2048), "model.win_size"),
        (options(dims=[2, 32, 64]), "model.dims"),
        (options(sources=["vocals", "other"]), "model.sources"),
        (options("guitar"), "training.target_instrument"),
        ({**options(), "model": "scnet"}, "model"),
    ],
)
def test_what_cannot_be_honoured_is_named(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        scnet_from_msst(given, {})
