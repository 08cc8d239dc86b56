"""MDX23C as Music-Source-Separation-Training (MSST) saves it.

Names of weights are the same. MSST's class has no defaults: its yaml states every key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import AudioSpec
from mss.release.importers import msst_yaml
from mss.release.importers.imported import Imported

# our keys by MSST's, in its sections `model` and `audio`
_MODEL = {
    "bottleneck_factor": "bottleneck_factor",
    "growth": "growth",
    "num_blocks_per_scale": "blocks",
    "num_channels": "channels",
    "num_scales": "scales",
    "num_subbands": "subbands",
    "scale": "scale",
}
_AUDIO = {"n_fft": "nfft", "hop_length": "hop", "dim_f": "bins"}
_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_GROUP_NORM = re.compile(r"GroupNorm(\d+)")
_ELU = re.compile(r"elu(\d+(?:\.\d*)?)")


def mdx23c_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a model of MSST's type "mdx23c"; see Translator.

    Args:
        options: the whole yaml.
        state: state dict under MSST's names.

    Raises:
        ConfigError: the yaml asks for what our architecture does not have, or lacks a key.
    """
    model, audio = msst_yaml.section(options, "model"), msst_yaml.section(options, "audio")
    known = {*_MODEL, "norm", "act"}
    for name in model:
        if name not in known:
            hint = nearest_name_hint(str(name), known)
            raise ConfigError(f"model.{name}: not an option of the MDX23C we import.{hint}")
    for where, values, names in (("model", model, known), ("audio", audio, {*_AUDIO})):
        for name in sorted(names):
            if name not in values:
                raise ConfigError(f"{where}.{name}: the yaml of an MSST MDX23C needs this key")
    inference = msst_yaml.inference_defaults(options)
    config = {ours: model[theirs] for theirs, ours in _MODEL.items()}
    config |= {ours: audio[theirs] for theirs, ours in _AUDIO.items()}
    config |= {"scale": list(config["scale"]), "segment": str(inference.segment)}
    config |= _norm(str(model["norm"])) | _activation(str(model["act"]))
    target = msst_yaml.target_instrument(options)
    spec = AudioSpec(
        msst_yaml.instruments(options) if target is None else (target,),
        msst_yaml.samplerate(options),
        audio.get("num_channels", 2),
    )
    weights = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    return Imported("mdx23c", config, spec, weights, inference)


def _norm(name: str) -> dict[str, Any]:
    if name in _NORMS:
        return {"norm": _NORMS[name]}
    if groups := _GROUP_NORM.fullmatch(name):
        return {"norm": "group", "norm_groups": int(groups[1])}
    raise ConfigError(
        f"model.norm: {name!r} is not supported; known are {', '.join(_NORMS)} and GroupNorm with"
        " its number of groups, such as GroupNorm8"
    )


def _activation(name: str) -> dict[str, Any]:
    if name in ("gelu", "relu"):
        return {"act": name}
    if alpha := _ELU.fullmatch(name):
        return {"act": "elu", "elu_alpha": float(alpha[1])}
    raise ConfigError(
        f"model.act: {name!r} is not supported; known are gelu, relu and elu with its alpha, such"
        " as elu1.0"
    )
