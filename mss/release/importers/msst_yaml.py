"""What every yaml of Music-Source-Separation-Training (MSST) states, whatever its model.

Its keys are audio, model, training and inference; keys of `model` are the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from mss.core.errors import ConfigError
from mss.core.types import InferenceDefaults

Options = Mapping[str, Any]


def section(options: Options, name: str) -> Options:
    """Return a section of the yaml.

    Raises:
        ConfigError: it is missing or holds something else.
    """
    found = options.get(name)
    if not isinstance(found, Mapping):
        raise ConfigError(f"{name}: the yaml of an MSST model needs this section, with its keys")
    return found


def instruments(options: Options) -> tuple[str, ...]:
    """Return the stems a model was trained on, `training.instruments`."""
    names = section(options, "training").get("instruments")
    if not isinstance(names, list | tuple) or not names:
        raise ConfigError("training.instruments: the yaml of an MSST model needs the stems' names")
    return tuple(str(name) for name in names)


def target_instrument(options: Options) -> str | None:
    """Return the only stem a model is meant to give, or None where it gives all."""
    target = section(options, "training").get("target_instrument")
    if target is None or target in instruments(options):
        return target
    raise ConfigError(
        f"training.target_instrument: {target!r} is not among training.instruments ="
        f" {list(instruments(options))}"
    )


def samplerate(options: Options) -> int:
    """Return `audio.sample_rate`, Hz."""
    return _whole(section(options, "audio").get("sample_rate", 44100), "audio.sample_rate")


def inference_defaults(options: Options) -> InferenceDefaults:
    """Return how MSST runs the model over a file.

    Its chunks fade linearly over a tenth at both ends; our triangle comes closest to that where
    they overlap by half, as they mostly do.
    """
    inference = section(options, "inference")
    chunk = inference.get("chunk_size", section(options, "audio").get("chunk_size"))
    overlaps = _whole(inference.get("num_overlap", 2), "inference.num_overlap")
    return InferenceDefaults(
        segment=Fraction(_whole(chunk, "audio.chunk_size"), samplerate(options)),
        overlap=1 - 1 / overlaps,
        window="triangle",
        normalise="file_mono_std" if inference.get("normalize") else "none",
    )


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where}: a positive whole number is needed (got {value!r})")
    return value
