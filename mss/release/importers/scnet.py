"""SCNet as Music-Source-Separation-Training (MSST) and its authors save it.

Names of weights are the same. What a yaml leaves out has the default of the published class, which
is ours.
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

# our keys by MSST's
_RENAMED = {
    "nfft": "nfft",
    "hop_size": "hop",
    "normalized": "normalized",
    "band_SR": "band_ratios",
    "band_stride": "band_strides",
    "band_kernel": "band_kernels",
    "conv_depths": "conv_depths",
    "compress": "compress",
    "conv_kernel": "conv_kernel",
    "num_dplayer": "dual_path_layers",
    "expand": "expand",
}
# read on their own
_APART = frozenset({"sources", "audio_channels", "dims", "win_size"})
_STEMS = ("drums", "bass", "other", "vocals")


def scnet_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a model of MSST's type "scnet"; see Translator.

    A model with a target instrument gives that stem alone: the other outputs are cut off.

    Args:
        options: the whole yaml.
        state: state dict under MSST's names.

    Raises:
        ConfigError: the yaml asks for what our architecture does not have, or contradicts itself.
    """
    model = msst_yaml.section(options, "model")
    known = {*_RENAMED, *_APART}
    for name in model:
        if name not in known:
            # among others the keys of the type "scnet_unofficial", another network
            hint = nearest_name_hint(str(name), known)
            raise ConfigError(f"model.{name}: not an option of the SCNet we import.{hint}")
    config = {ours: model[theirs] for theirs, ours in _RENAMED.items() if theirs in model}
    if model.get("win_size", 4096) != config.get("nfft", 4096):
        raise ConfigError(
            f"model.win_size: {model.get('win_size', 4096)} samples; only frames as long as the"
            f" transform (nfft = {config.get('nfft', 4096)}) are supported"
        )
    if "band_ratios" in config:  # the last band takes what the others leave, whatever it states
        *lower, _ = config["band_ratios"]
        config["band_ratios"] = [*lower, 1 - sum(lower)]
    if "conv_depths" in config:  # their signs have no meaning
        config["conv_depths"] = [abs(depth) for depth in config["conv_depths"]]
    channels = model.get("audio_channels", 2)
    first, *blocks = model.get("dims", [2 * channels, 32, 64, 128])
    if first != 2 * channels:
        raise ConfigError(
            f"model.dims: starts with {first}, but the spectrogram of {channels} audio channels has"
            f" {2 * channels}"
        )
    inference = msst_yaml.inference_defaults(options)
    config |= {"channels": blocks, "segment": str(inference.segment)}

    sources, kept = _sources(options, len(model.get("sources", _STEMS)))
    weights = {name: value.float() for name, value in state.items()}
    if kept is not None:
        _keep_output(weights, kept, width=first, last=len(blocks) - 1)
    spec = AudioSpec(sources, msst_yaml.samplerate(options), channels)
    return Imported("scnet", config, spec, weights, inference)


def _sources(options: Mapping[str, Any], outputs: int) -> tuple[tuple[str, ...], int | None]:
    """Return the sources that MSST takes from the model, and the only output to keep, if any."""
    stems, target = msst_yaml.instruments(options), msst_yaml.target_instrument(options)
    if target is not None and outputs == 1:
        return (target,), None
    if outputs != len(stems):
        raise ConfigError(
            f"model.sources: {outputs} sources, but training.instruments names {len(stems)} stems"
            f" ({', '.join(stems)}) and training.target_instrument is {target!r}"
        )
    return (stems, None) if target is None else ((target,), stems.index(target))


def _keep_output(weights: dict[str, Tensor], source: int, width: int, last: int) -> None:
    """Cut the last decoder layer down to one source's `width` output channels."""
    output = re.compile(rf"decoder\.{last}\.1\.convtrs\.\d+\.(weight|bias)")
    for name, value in weights.items():
        if found := output.fullmatch(name):
            axis = 1 if found[1] == "weight" else 0  # [in, out, kernel, 1]
            weights[name] = value.narrow(axis, source * width, width).clone()
