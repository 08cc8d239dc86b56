"""X-UMX as the package asteroid stores it: `state_dict` and `model_args` in one file.

Each kind of layer is a mapping by source there ("layer_enc.vocals.enc.0.weight"), here each source
is a network with Open-Unmix's names. What is computed is equal for stereo; for mono, asteroid's
class averages the magnitudes of two channels, which our model, given one channel, has no part in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.release.importers.imported import Imported
from mss.release.importers.openunmix import bandwidth_of

_LAYERS = {
    "enc.0": "fc1",
    "enc.1": "bn1",
    "dec.0": "fc2",
    "dec.1": "bn2",
    "dec.3": "fc3",
    "dec.4": "bn3",
}
_WINDOWS = ("encoder.0.window", "decoder.window")
# asteroid's defaults, of those arguments that matter
_DEFAULTS: dict[str, Any] = {
    "window_length": 4096,
    "in_chan": 4096,
    "n_hop": 1024,
    "hidden_size": 512,
    "nb_channels": 2,
    "sample_rate": 44100,
    "nb_layers": 3,
    "max_bin": None,
    "bidirectional": True,
    "spec_power": 1,
}
# initial values of what the weights hold, and what the forward pass returns
_IDLE = ("sources", "input_mean", "input_scale", "return_time_signals")


def xumx_from_asteroid(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate asteroid's XUMX.

    Args:
        options: the file's content but its weights; `model_args` are the arguments of the class.
        state: the file's `state_dict`.

    Raises:
        ConfigError: an argument that we have no counterpart for, or a state that is not its.
    """
    given = options.get("model_args")
    if not isinstance(given, Mapping) or not given.get("sources"):
        raise ConfigError("model_args.sources: missing; is this asteroid's XUMX?")
    for key in given:
        if key not in _DEFAULTS and key not in _IDLE:
            raise ConfigError(f"model_args.{key}: no argument of asteroid's XUMX")
    arguments = _DEFAULTS | {key: given[key] for key in given if key in _DEFAULTS}
    nfft, samplerate = int(arguments["in_chan"]), int(arguments["sample_rate"])
    if arguments["window_length"] != nfft:
        raise ConfigError(
            f"model_args.window_length: {arguments['window_length']}; only windows of the"
            f" transform's length, in_chan = {nfft}, are supported"
        )
    if arguments["spec_power"] != 1:
        raise ConfigError(
            f"model_args.spec_power: {arguments['spec_power']}; only magnitudes, 1, are supported"
        )
    sources = tuple(given["sources"])
    bins = nfft // 2 + 1
    return Imported(
        arch="xumx",
        config={
            "hidden_size": arguments["hidden_size"],
            "nb_layers": arguments["nb_layers"],
            "unidirectional": not arguments["bidirectional"],
            "nfft": nfft,
            "nhop": arguments["n_hop"],
            "bandwidth": bandwidth_of(arguments["max_bin"] or bins, nfft, samplerate),
        },
        spec=AudioSpec(sources, samplerate, arguments["nb_channels"]),
        state={
            _our_name(name, sources): value.float() if value.is_floating_point() else value
            for name, value in state.items()
            if name not in _WINDOWS
        },
    )


def _our_name(name: str, sources: tuple[str, ...]) -> str:
    """Return our name of one of asteroid's tensors."""
    of_layer = re.fullmatch(r"layer_(?:enc|dec)\.(.+)\.((?:enc|dec)\.\d)\.(\w+)", name)
    of_lstm = re.fullmatch(r"layer_lstm\.(.+)\.(\w+)", name)
    of_scale = re.fullmatch(r"mean_scale\.((?:input|output)_(?:mean|scale))_(.+)", name)
    source, ours = "", ""
    if of_layer is not None and of_layer[2] in _LAYERS:
        source, ours = of_layer[1], f"{_LAYERS[of_layer[2]]}.{of_layer[3]}"
    elif of_lstm is not None:
        source, ours = of_lstm[1], f"lstm.{of_lstm[2]}"
    elif of_scale is not None:
        source, ours = of_scale[2], of_scale[1]
    if source not in sources:
        raise ConfigError(f"{name}: not a tensor of asteroid's XUMX for {', '.join(sources)}")
    return f"targets.{sources.index(source)}.{ours}"
