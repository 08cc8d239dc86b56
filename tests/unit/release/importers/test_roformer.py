from typing import Any

import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError, DataError
from mss.core.types import AudioSpec
from mss.models.bs_roformer import BSRoformer, BSRoformerConfig
from mss.models.mel_roformer import MelRoformer
from mss.nn.rotary import rotary_frequencies
from mss.release.importers.roformer import bs_roformer_from_msst, mel_roformer_from_msst


def published_yaml(**model: Any) -> dict[str, Any]:
    """What MSST's yaml of the well-known vocals model says (with fewer, wider bands)."""
    return {
        "audio": {"chunk_size": 352800, "num_channels": 2, "sample_rate": 44100},
        "model": {
            "dim": 16,
            "depth": 1,
            "stereo": True,
            "num_stems": 1,
            "time_transformer_depth": 1,
            "freq_transformer_depth": 1,
            "linear_transformer_depth": 0,
            "freqs_per_bands": (400, 400, 225),
            "dim_head": 8,
            "heads": 2,
            "attn_dropout": 0.1,
            "flash_attn": True,
            "dim_freqs_in": 1025,
            "stft_n_fft": 2048,
            "stft_hop_length": 441,
            "stft_win_length": 2048,
            "multi_stft_resolutions_window_sizes": (4096, 2048),
            **model,
        },
        "training": {"instruments": ["vocals", "other"], "target_instrument": "vocals"},
        "inference": {"batch_size": 4, "dim_t": 801, "num_overlap": 4},
    }


def test_options_become_ours() -> None:
    imported = bs_roformer_from_msst(published_yaml(), {})
    assert imported.arch == "bs_roformer"
    assert imported.spec == AudioSpec(("vocals",), 44100, 2)
    assert imported.inference is not None
    assert imported.inference.segment == 8
    assert imported.inference.overlap == 0.75
    assert imported.inference.normalise == "none"
    config = registry.make_config(BSRoformerConfig, imported.config, "model")
    assert config.segment == 8
    assert config.freqs_per_bands == (400, 400, 225)
    # left out: the default of MSST's class, not ours
    assert (config.mlp_expansion_factor, config.ff_dropout, config.zero_dc) == (4, 0.0, True)


def test_chunks_at_inference_may_differ_from_those_of_training() -> None:
    options = published_yaml()
    options["inference"] |= {"chunk_size": 441000, "normalize": True}
    imported = bs_roformer_from_msst(options, {})
    assert imported.inference is not None
    assert imported.inference.segment == 10
    assert imported.inference.normalise == "file_mono_std"


def test_weights_keep_their_names_but_for_the_rotary_frequencies() -> None:
    options = published_yaml()
    values = bs_roformer_from_msst(options, {}).config
    config = registry.make_config(BSRoformerConfig, values, "model")
    model = BSRoformer(config, AudioSpec(("vocals",)))
    state = {name: value.half() for name, value in model.state_dict().items()}
    key = "layers.0.1.layers.0.0.rotary_embed.freqs"
    foreign = state | {key: rotary_frequencies(8).half()}
    weights = bs_roformer_from_msst(options, foreign).state
    assert weights.keys() == state.keys()
    assert all(value.dtype == torch.float32 for value in weights.values())
    with pytest.raises(DataError, match=r"^layers\.0\.1.*rotary"):
        bs_roformer_from_msst(options, state | {key: 1.1 * rotary_frequencies(8)})
    with pytest.raises(DataError, match=r"^layers\.0\.1.*rotary"):
        bs_roformer_from_msst(options, state | {key: rotary_frequencies(16)})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"linear_transformer_depth": 1}, "linear_transformer_depth"),
        ({"use_pope": True}, "use_pope"),
        ({"stft_win_length": 1024}, "stft_win_length"),
        ({"num_stems": 3}, "num_stems"),
        ({"use_shared_bias": True}, "use_shared_bias"),
        ({"num_bands": 60}, "num_bands"),  # of the other model
    ],
)
def test_what_can_not_be_honoured_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.{key}:"):
        bs_roformer_from_msst(published_yaml(**changes), {})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("audio", "chunk_size", None),
        ("audio", "sample_rate", 44100.5),
        ("inference", "num_overlap", 0),
        ("training", "instruments", None),
        ("training", "target_instrument", "piano"),
    ],
)
def test_a_yaml_that_lacks_something_is_named(section: str, key: str, value: Any) -> None:
    options = published_yaml()
    options[section][key] = value
    with pytest.raises(ConfigError, match=rf"^{section}\.{key}:"):
        bs_roformer_from_msst(options, {})
    del options[section]
    with pytest.raises(ConfigError, match=rf"^{section}:"):
        bs_roformer_from_msst(options, {})


def test_needed_keys() -> None:
    options = published_yaml()
    del options["model"]["dim"]
    with pytest.raises(ConfigError, match=r"^model\.dim:"):
        bs_roformer_from_msst(options, {})


def mel_yaml(**model: Any) -> dict[str, Any]:
    options = published_yaml(num_bands=40, **model)
    del options["model"]["freqs_per_bands"]
    return options


def test_mel_bands() -> None:
    imported = mel_roformer_from_msst(mel_yaml(sample_rate=44100), {})
    assert imported.arch == "mel_roformer"
    values = {"name": imported.arch, **imported.config}
    model = registry.build("model", values, imported.spec)
    assert isinstance(model, MelRoformer)
    assert len(model.bands) == 40
    assert model.config.mask_estimator_depth == 1  # the default of MSST's class


def test_mel_bands_of_another_samplerate_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.sample_rate:"):
        mel_roformer_from_msst(mel_yaml(sample_rate=48000), {})
    options = mel_yaml()
    options["audio"]["sample_rate"] = 48000
    with pytest.raises(ConfigError, match=r"^model\.sample_rate:"):
        mel_roformer_from_msst(options, {})
