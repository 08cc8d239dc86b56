"""What the translation refuses; what it gives is tested against MSST in tests/parity."""

from typing import Any

import pytest
import torch

from mss.core.errors import ConfigError
from mss.core.registry import make_config
from mss.core.types import AudioSpec, InferenceDefaults
from mss.models.mdx23c import MDX23CConfig
from mss.release.importers.mdx23c import mdx23c_from_msst

MODEL = {
    "act": "gelu",
    "bottleneck_factor": 4,
    "growth": 128,
    "norm": "InstanceNorm",
    "num_blocks_per_scale": 2,
    "num_channels": 128,
    "num_scales": 5,
    "num_subbands": 4,
    "scale": (2, 2),
}


def options(target: str | None = None, **model: Any) -> dict[str, Any]:
    return {
        "audio": {
            "chunk_size": 261120,
            "dim_f": 4096,
            "dim_t": 256,
            "hop_length": 1024,
            "n_fft": 8192,
            "num_channels": 2,
            "sample_rate": 44100,
            "min_mean_abs": 0.001,
        },
        "model": MODEL | model,
        "training": {"instruments": ["Vocals", "Instrumental"], "target_instrument": target},
        "inference": {"batch_size": 1, "dim_t": 256, "num_overlap": 8},
    }


def without(name: str, section: str) -> dict[str, Any]:
    given = options()
    given[section] = {key: value for key, value in given[section].items() if key != name}
    return given


def test_the_public_yaml_is_our_default() -> None:
    imported = mdx23c_from_msst(options(), {})
    assert make_config(MDX23CConfig, imported.config, "model") == MDX23CConfig()
    assert imported.spec == AudioSpec(("Vocals", "Instrumental"))
    assert imported.inference == InferenceDefaults(segment=MDX23CConfig().segment, overlap=0.875)


def test_a_target_is_the_only_source() -> None:
    assert mdx23c_from_msst(options("Vocals"), {}).spec.sources == ("Vocals",)


def test_counters_stay_whole_and_weights_become_float32() -> None:
    state = {"a.weight": torch.ones(2).half(), "a.num_batches_tracked": torch.tensor(3)}
    weights = mdx23c_from_msst(options(norm="BatchNorm"), state).state
    assert weights["a.weight"].dtype == torch.float32
    assert weights["a.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (options(num_scale=3), "model.num_scale: .* Did you mean 'num_scales'"),
        (options(norm="LayerNorm"), "model.norm"),
        (options(norm="GroupNorm"), "model.norm"),
        (options(act="selu"), "model.act"),
        (options(act="elu"), "model.act"),
        (options("drums"), "training.target_instrument"),
        (without("growth", "model"), "model.growth"),
        (without("dim_f", "audio"), "audio.dim_f"),
        (without("chunk_size", "audio"), "audio.chunk_size"),
    ],
)
def test_what_cannot_be_honoured_is_named(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        mdx23c_from_msst(given, {})
