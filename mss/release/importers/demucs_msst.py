"""Models of the demucs family trained with Music-Source-Separation-Training (MSST).

MSST builds its `htdemucs`, `hdemucs` and `demucs` from the section of that name in its yaml (the
arguments of the demucs classes) and from `training` (sources, channels, sample rate, segment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import InferenceDefaults
from mss.release.importers.demucs import DEMUCS, HDEMUCS, HTDEMUCS, DemucsClass, seconds
from mss.release.importers.imported import Imported
from mss.release.importers.msst_yaml import instruments, section

# MSST's own copy of HTDemucs: another default, and sub-bands, which no released model has.
_HTDEMUCS = replace(
    HTDEMUCS,
    defaults={**HTDEMUCS.defaults, "use_train_segment": False, "num_subbands": 1},
    fixed={**HTDEMUCS.fixed, "num_subbands": 1},
)


def htdemucs_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate an MSST checkpoint with ``model: htdemucs``; `options` is its whole yaml."""
    return _translate(_HTDEMUCS, options, state)


def hdemucs_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate an MSST checkpoint with ``model: hdemucs``; `options` is its whole yaml."""
    return _translate(HDEMUCS, options, state)


def demucs_from_msst(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate an MSST checkpoint with ``model: demucs``; `options` is its whole yaml."""
    return _translate(DEMUCS, options, state)


def _translate(
    klass: DemucsClass, options: Mapping[str, Any], state: Mapping[str, Tensor]
) -> Imported:
    if options.get("model") != klass.arch:
        raise ConfigError(
            f"model: {options.get('model')!r} is not {klass.arch!r}; MSST's yaml names a model of"
            " the demucs family there and has its options in a section of that name"
        )
    own, training = section(options, klass.arch), section(options, "training")
    for name in own:
        if name not in klass.defaults:
            raise ConfigError(f"{klass.arch}.{name}: demucs's {klass.name} has no such argument")
    outer = {
        "sources": list(instruments(options)),
        "audio_channels": _needed(training, "channels"),
        "samplerate": _needed(training, "samplerate"),
        "segment": _needed(training, "segment"),
    }
    arguments = klass.arguments({"kwargs": {**_numbers(own), **outer}})
    imported = klass.translate(arguments, state, where=klass.arch)
    return replace(imported, inference=_inference(options, training))


def _inference(options: Mapping[str, Any], training: Mapping[str, Any]) -> InferenceDefaults:
    """Return how MSST runs the demucs family: chunks of the training segment, plainly averaged.

    It divides by the deviation of the whole file where `inference.normalize` says so and, unlike
    demucs, not otherwise: it never reads the `training.normalize` of its own configurations.
    """
    inference = section(options, "inference")
    overlaps = inference.get("num_overlap")
    if not isinstance(overlaps, int) or overlaps < 1:
        raise ConfigError(f"inference.num_overlap: {overlaps!r} is not a positive whole number")
    return InferenceDefaults(
        segment=seconds(training["segment"], "training.segment"),
        overlap=1 - 1 / overlaps,
        window="flat",
        normalise="file_mono_std" if inference.get("normalize") else "none",
    )


def _needed(training: Mapping[str, Any], name: str) -> Any:
    if training.get(name) is None:
        raise ConfigError(f"training.{name}: MSST's yaml needs this key")
    return training[name]


def _numbers(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with numbers for texts like 1e-3, which YAML 1.1 does not read as one."""
    return {
        name: _number(value) if isinstance(value, str) else value for name, value in own.items()
    }


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
