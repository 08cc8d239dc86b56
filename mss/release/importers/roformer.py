"""BS-RoFormer and MelBand-RoFormer as Music-Source-Separation-Training (MSST) saves them.

Names of weights are the same, but for the rotary frequencies, which MSST repeats in every layer and
we compute. What a yaml leaves out has the default of MSST's class, which may differ from ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.types import AudioSpec
from mss.nn.rotary import rotary_frequencies
from mss.release.importers import msst_yaml
from mss.release.importers.imported import Imported

# of both classes; keys of our Config, under MSST's names
_COMMON: dict[str, Any] = {
    "time_transformer_depth": 2,
    "freq_transformer_depth": 2,
    "dim_head": 64,
    "heads": 8,
    "stft_n_fft": 2048,
    "stft_hop_length": 512,
    "stft_normalized": False,
    "zero_dc": True,
    "mlp_expansion_factor": 4,
    "skip_connection": False,
}
_BS = _COMMON | {
    "attn_dropout": 0.0,
    "ff_dropout": 0.0,
    "mask_estimator_depth": 2,
    "freqs_per_bands": (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129),
}
_MEL = _COMMON | {
    "attn_dropout": 0.1,
    "ff_dropout": 0.1,
    "mask_estimator_depth": 1,
    "num_bands": 60,
}
_NEEDED = ("dim", "depth")

# Which kernel computes attention, how memory is saved in training, a loss inside of the model; the
# length of the output is always that of the input here; dim_freqs_in is not read by MSST either.
_IDLE = frozenset(
    {
        "flash_attn",
        "sage_attention",
        "use_torch_checkpoint",
        "dim_freqs_in",
        "match_input_audio_length",
        "multi_stft_resolution_loss_weight",
        "multi_stft_resolutions_window_sizes",
        "multi_stft_hop_size",
        "multi_stft_normalized",
        "multi_stft_window_fn",
    }
)
# What changes the network and has one value here.
_FIXED: dict[str, Any] = {"linear_transformer_depth": 0, "use_pope": False, "stft_window_fn": None}
# Read on their own.
_APART = frozenset({"stereo", "num_stems", "sample_rate", "stft_win_length"})

_ROTARY = re.compile(r"layers\.\d+\.\d+\.layers\.\d+\.0\.rotary_embed\.freqs")
_ESTIMATOR = re.compile(r"mask_estimators\.(\d+)\.(.+)")


def bs_roformer_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a model of MSST's type "bs_roformer".

    Args:
        options: the whole yaml.
        state: state dict under MSST's names.

    Raises:
        ConfigError: the yaml asks for what our architecture does not have, or lacks a key.
        DataError: the rotary frequencies are not those of the formula.
    """
    return _translate("bs_roformer", _BS, options, state)


def mel_roformer_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a model of MSST's type "mel_band_roformer"; see bs_roformer_from_msst."""
    return _translate("mel_roformer", _MEL, options, state)


def _translate(
    arch: str,
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> Imported:
    model = msst_yaml.section(options, "model")
    _check(model, defaults)
    samplerate = msst_yaml.samplerate(options)
    # MSST's class has its own samplerate (44.1 kHz unless given), for its mel bands
    if "num_bands" in defaults and model.get("sample_rate", 44100) != samplerate:
        raise ConfigError(
            f"model.sample_rate: {model.get('sample_rate', 44100)} Hz, but audio.sample_rate is"
            f" {samplerate}; mel bands made for another samplerate are not supported"
        )
    inference = msst_yaml.inference_defaults(options)
    config = {name: model[name] for name in _NEEDED}
    config |= {name: model.get(name, default) for name, default in defaults.items()}
    if "freqs_per_bands" in config:
        config["freqs_per_bands"] = list(config["freqs_per_bands"])
    config["segment"] = str(inference.segment)

    sources, heads = _sources(options, model.get("num_stems", 1))
    spec = AudioSpec(sources, samplerate, channels=2 if model.get("stereo", False) else 1)
    weights = _weights(state, config["dim_head"], heads)
    return Imported(arch, config, spec, weights, inference)


def _check(model: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise a ConfigError for a key of `model` that can't be honoured."""
    for name in _NEEDED:
        if name not in model:
            raise ConfigError(f"model.{name}: the yaml of an MSST RoFormer needs this key")
    known = {*_NEEDED, *defaults, *_IDLE, *_FIXED, *_APART}
    for name, value in model.items():
        if name not in known:
            hint = nearest_name_hint(str(name), known)
            raise ConfigError(f"model.{name}: not an option of the RoFormers we import.{hint}")
        if name in _FIXED and value != _FIXED[name]:
            raise ConfigError(
                f"model.{name}: {value!r} is not supported, only {_FIXED[name]!r}; the checkpoint"
                " is of another network"
            )
    window, n_fft = (model.get(name, 2048) for name in ("stft_win_length", "stft_n_fft"))
    if window != n_fft:
        raise ConfigError(
            f"model.stft_win_length: {window} samples; only windows as long as the transform"
            f" (stft_n_fft = {n_fft}) are supported"
        )


def _sources(options: Mapping[str, Any], num_stems: int) -> tuple[tuple[str, ...], list[int]]:
    """Return the sources that MSST takes from the model, and which mask estimators make them."""
    stems, target = msst_yaml.instruments(options), msst_yaml.target_instrument(options)
    if target is not None and num_stems == 1:
        return (target,), [0]
    if num_stems != len(stems):
        raise ConfigError(
            f"model.num_stems: {num_stems}, but training.instruments names {len(stems)} stems"
            f" ({', '.join(stems)}) and training.target_instrument is {target!r}"
        )
    if target is not None:
        return (target,), [stems.index(target)]
    return stems, list(range(num_stems))


def _weights(state: Mapping[str, Tensor], dim_head: int, heads: list[int]) -> dict[str, Tensor]:
    """Drop what is computed or not used; keep the mask estimators `heads`, in that order."""
    formula = rotary_frequencies(dim_head)
    weights = {}
    for name, value in state.items():
        estimator = _ESTIMATOR.fullmatch(name)
        if _ROTARY.fullmatch(name):
            # to the precision of bfloat16: some checkpoints were stored in half
            given = value.float().cpu()
            same = given.shape == formula.shape
            if not (same and torch.allclose(given, formula, rtol=2**-8, atol=0)):
                raise DataError(f"{name}: other rotary frequencies than 10000^(-2i / {dim_head})")
        elif estimator is None:
            weights[name] = value.float()
        elif int(estimator[1]) in heads:
            index = heads.index(int(estimator[1]))
            weights[f"mask_estimators.{index}.{estimator[2]}"] = value.float()
    return weights
