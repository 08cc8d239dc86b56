"""torchaudio's HDemucs (bundles HDEMUCS_HIGH_MUSDB and HDEMUCS_HIGH_MUSDB_PLUS).

The same network as demucs's with its modules renamed. HDEMUCS_HIGH_MUSDB_PLUS was trained on the
test set of MUSDB18-HQ too: it must not be evaluated there.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec, InferenceDefaults
from mss.release.importers.imported import Imported

# Arguments of torchaudio.models.HDemucs after `sources`, with its defaults.
_DEFAULTS: dict[str, Any] = {
    "audio_channels": 2,
    "channels": 48,
    "growth": 2,
    "nfft": 4096,
    "depth": 6,
    "freq_emb": 0.2,
    "emb_scale": 10,
    "emb_smooth": True,
    "kernel_size": 8,
    "time_stride": 2,
    "stride": 4,
    "context": 1,
    "context_enc": 0,
    "norm_starts": 4,
    "norm_groups": 4,
    "dconv_depth": 2,
    "dconv_comp": 4,
    "dconv_attn": 4,
    "dconv_lstm": 4,
    "dconv_init": 1e-4,
}

_MODULES = {
    "freq_encoder": "encoder",
    "freq_decoder": "decoder",
    "time_encoder": "tencoder",
    "time_decoder": "tdecoder",
    "freq_emb": "freq_emb",
}

# The bundles' sample rate; the class itself knows none.
_SAMPLERATE = 44100


def hdemucs_from_torchaudio(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a state dict of torchaudio.models.HDemucs.

    Args:
        options: its arguments by name.
        state: under its names.

    Raises:
        ConfigError: an argument it does not have, or the one variant that is no Hybrid Demucs.
    """
    for name in options:
        if name not in _DEFAULTS and name != "sources":
            raise ConfigError(f"{name}: torchaudio's HDemucs has no such argument")
    if not options.get("sources"):
        raise ConfigError("sources: torchaudio's HDemucs needs the names of its sources")
    arguments = _DEFAULTS | dict(options)
    if arguments["nfft"] == 2048:
        raise ConfigError(
            "nfft: 2048 is not supported: torchaudio's hdemucs_medium changes a stride for it,"
            " which no other Hybrid Demucs does and no released model has"
        )
    channels = arguments.pop("audio_channels")
    spec = AudioSpec(tuple(arguments.pop("sources")), _SAMPLERATE, channels)
    # the decoder has no residual branches here
    return Imported("hdemucs", arguments | {"dconv_mode": 1}, spec, _rename(state), _inference())


def _inference() -> InferenceDefaults:
    """Return how torchaudio's tutorial runs the bundles: 11 s, cross-faded linearly over 0.1 s.

    A triangle, normalised by the sum of weights, cross-fades linearly where chunks overlap by less
    than half. Like demucs, the tutorial divides by the deviation of the whole file.
    """
    return InferenceDefaults(
        segment=Fraction(11), overlap=0.1 / 11, window="triangle", normalise="file_mono_std"
    )


def _rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names, without those that torchaudio never uses.

    The last layer of its time encoder is a convolution alone, but has a norm to no purpose.
    """
    last = max(
        (int(name.split(".")[1]) for name in state if name.startswith("time_encoder.")), default=-1
    )
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        module, _, rest = name.partition(".")
        if module not in _MODULES:
            raise ConfigError(f"{name}: torchaudio's HDemucs has no weight of this name")
        if module == "time_encoder" and rest.startswith(f"{last}.norm1."):
            continue
        renamed[f"{_MODULES[module]}.{rest}"] = value.float()
    return renamed
