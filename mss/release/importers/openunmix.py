"""Open-Unmix as the package openunmix (1.3.0) and its training script store it.

A trained model is a folder: for each target a file of weights (`vocals.pth`, as published
`vocals-b62c91ce.pth`) and what it was trained with (`vocals.json`), and `separator.json` for all:

    {"sample_rate": 44100, "nfft": 4096, "nhop": 1024, "nb_channels": 2}

Sizes are read off the weights. The number of bins that the network looks at is only there: it is
the length of `input_mean`, the bins up to the bandwidth, 16 kHz as published. The published models
umx, umxhq and umxl come without JSON: 44.1 kHz, window 4096 and hop 1024.

Its authors run it over the whole track at once. With four sources that takes about 30 MB of memory
a second of audio (7 GB for four minutes), so that what is imported takes a minute at a time, long
beside what a recurrent layer remembers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError, nearest_name_hint
from mss.core.types import AudioSpec, InferenceDefaults
from mss.release.importers.imported import Imported

_FILTER = ("niter", "softmask", "residual", "wiener_win_len")
_PUBLISHED = {"sample_rate": 44100, "nfft": 4096, "nhop": 1024}
_BANDWIDTH = 16000.0
_INFERENCE = InferenceDefaults(segment=Fraction(60), overlap=0.25)
_NOTE = "its authors run it over the whole track at once; here it takes 60 s at a time, for memory"
# files from before 2020 also hold the transform and the sample rate
_UNUSED = re.compile(r"(stft|spec|transform)\..+|sample_rate")
_PARTS = re.compile(
    r"(input|output)_(mean|scale)|(fc|bn)[123]\.(weight|bias|running_mean|running_var"
    r"|num_batches_tracked)|lstm\.(weight|bias)_[ih]h_l\d+(_reverse)?"
)


def openunmix_from_openunmix(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate all target networks of one folder.

    Args:
        options: `targets`, the names in the order wanted (that of `state` unless given);
            `separator`, the content of separator.json (as published for the window 4096);
            under a target's name the content of its JSON file, which nothing here is taken from;
            and, as for openunmix's Separator, `niter` (1), `softmask`, `residual` (false) and
            `wiener_win_len` (300).
        state: name `n` of target `t` is ``<t>.<n>`` ("vocals.fc1.weight").

    Raises:
        ConfigError: an option that is not known, or a state that is not of such networks.
    """
    translated = {
        name: value
        for name, value in state.items()
        if not _UNUSED.fullmatch(name.partition(".")[2])
    }
    found = tuple(dict.fromkeys(name.partition(".")[0] for name in translated))
    targets = tuple(options.get("targets", found))
    known = ("targets", "separator", *_FILTER, *targets)
    for key in options:
        if key not in known:
            raise ConfigError(f"{key}: no option of Open-Unmix.{nearest_name_hint(key, known)}")
    if set(targets) != set(found) or not targets:
        raise ConfigError(
            f"targets: {', '.join(targets) or 'none'}, but there are weights of"
            f" {', '.join(found) or 'none'}"
        )
    weights = {}
    for name, value in translated.items():
        target, _, part = name.partition(".")
        if not _PARTS.fullmatch(part):
            raise ConfigError(f"{name}: not a tensor of Open-Unmix")
        weights[f"targets.{targets.index(target)}.{part}"] = (
            value.float() if value.is_floating_point() else value
        )
    config, channels, samplerate = _sizes(weights, options.get("separator"))
    config |= {key: options[key] for key in _FILTER if key in options}
    if len(targets) == 1 and not config.get("residual"):
        config["niter"] = 0  # openunmix doesn't filter a lone target either
    return Imported(
        arch="openunmix",
        config=config,
        spec=AudioSpec(targets, samplerate, channels),
        state=weights,
        inference=_INFERENCE,
        note=_NOTE,
    )


def _sizes(
    weights: Mapping[str, Tensor], separator: Mapping[str, Any] | None
) -> tuple[dict[str, Any], int, int]:
    """Return the configuration, channels and sample rate that the first target's weights show."""
    missing = [
        name
        for name in ("input_mean", "output_mean", "fc1.weight", "lstm.weight_ih_l0")
        if f"targets.0.{name}" not in weights
    ]
    if missing:
        raise ConfigError(f"{missing[0]}: missing; is this an Open-Unmix?")
    bins, bins_in = len(weights["targets.0.output_mean"]), len(weights["targets.0.input_mean"])
    hidden, width = weights["targets.0.fc1.weight"].shape
    lstm = [name for name in weights if name.startswith("targets.0.lstm.weight_ih_l")]
    nfft, channels = 2 * (bins - 1), width // bins_in
    if separator is None:
        if nfft != _PUBLISHED["nfft"]:
            raise ConfigError(
                f"separator: needed for a window of {nfft} samples; the hop and the sample rate"
                " are in separator.json"
            )
        separator = _PUBLISHED
    stated = {"nfft": (separator.get("nfft", nfft), nfft)}
    stated["nb_channels"] = (separator.get("nb_channels", channels), channels)
    for key, (said, seen) in stated.items():
        if said != seen:
            raise ConfigError(f"separator.{key}: {said}, but the weights are made for {seen}")
    for key in ("nhop", "sample_rate"):
        if key not in separator:
            raise ConfigError(f"separator.{key}: missing")
    unidirectional = not any(name.endswith("_reverse") for name in lstm)
    samplerate = int(separator["sample_rate"])
    config = {
        "hidden_size": hidden,
        "nb_layers": len(lstm) if unidirectional else len(lstm) // 2,
        "unidirectional": unidirectional,
        "nfft": nfft,
        "nhop": int(separator["nhop"]),
        "bandwidth": bandwidth_of(bins_in, nfft, samplerate),
    }
    return config, channels, samplerate


def bandwidth_of(bins_in: int, nfft: int, samplerate: int) -> float | None:
    """Return a bandwidth in Hz for which a network looks at the lowest `bins_in` bins."""
    if bins_in == nfft // 2 + 1:
        return None
    if bins_in == int(_BANDWIDTH * nfft / samplerate) + 1:
        return _BANDWIDTH
    return (bins_in - 0.5) * samplerate / nfft  # half way to the first bin that it doesn't see
