"""Checkpoints of the `demucs` package: its classes HDemucs, HTDemucs and Demucs.

A checkpoint states its class, the arguments that its network was built with and its weights. What
it leaves out has the default of the demucs class (4.1.0), which may differ from ours. Names of
weights are the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.release.importers.imported import Imported, Translator

logger = logging.getLogger(__name__)

_V2_NAME = re.compile(r"^((?:encoder|decoder)\.\d+)\.2\.(weight|bias)$")


@dataclass(frozen=True)
class DemucsClass:
    """How the arguments of one class of demucs become one of our configurations.

    Attributes:
        name: of the class.
        arch: our architecture.
        defaults: of every argument after `sources`, in their order.
        fixed: arguments that our architecture has no choice in, with the only value it has.
        idle: arguments that change no result: of the optimiser, of branches that are not taken.
    """

    name: str
    arch: str
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]
    idle: frozenset[str] = frozenset()

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments by name, given ``{"args": [...], "kwargs": {...}}``.

        Raises:
            ConfigError: they do not fit the class.
        """
        names = ("sources", *self.defaults)
        positional, named = list(options.get("args", [])), dict(options.get("kwargs", {}))
        if len(positional) > len(names):
            raise ConfigError(
                f"args: {len(positional)} arguments for demucs's {self.name}, which has"
                f" {len(names)}; the checkpoint is of another class or damaged"
            )
        given = dict(zip(names, positional, strict=False))
        for name, value in named.items():
            if name in given:
                raise ConfigError(f"kwargs.{name}: given twice, in args and in kwargs")
            if name in names:
                given[name] = value
            else:
                # what demucs itself does with arguments of its own earlier versions
                logger.warning(
                    "demucs's %s has no argument %r (any more): dropped", self.name, name
                )
        if "sources" not in given:
            raise ConfigError(
                f"kwargs.sources: demucs's {self.name} needs the names of its sources"
            )
        return {**self.defaults, **given}

    def translate(
        self, arguments: Mapping[str, Any], state: Mapping[str, Tensor], where: str = "kwargs"
    ) -> Imported:
        """Return the model that the class would build of `arguments`, with weights `state`."""
        for name, value in self.fixed.items():
            if (arguments[name] or None) != (value or None):
                raise ConfigError(
                    f"{where}.{name}: {arguments[name]!r} is not supported for {self.arch}; no"
                    f" released model has another value than {value!r}"
                )
        skip = {"sources", "audio_channels", "samplerate", "segment", *self.fixed, *self.idle}
        config = {name: value for name, value in arguments.items() if name not in skip}
        if config.get("multi_freqs", ()) is None:
            config["multi_freqs"] = []
        config["segment"] = str(seconds(arguments["segment"], f"{where}.segment"))
        spec = AudioSpec(
            tuple(arguments["sources"]),
            samplerate=arguments["samplerate"],
            channels=arguments["audio_channels"],
        )
        return Imported(self.arch, config, spec, float_state(state))


def seconds(value: Any, where: str) -> Fraction:
    """Read a duration: a number, a Fraction, or a Fraction as demucs writes it in JSON."""
    try:
        if isinstance(value, Mapping):
            return Fraction(value["numerator"], value["denominator"])
        if isinstance(value, str) and "e" in value.lower():
            raise ValueError("an exponent")  # "1e999999999" takes hours
        return Fraction(str(value))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{where}: {value!r} is not a number of seconds") from error


def float_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights in float32; demucs stores them in half precision."""
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


_COMMON_TO_HYBRIDS: dict[str, Any] = {
    "audio_channels": 2,
    "channels": 48,
    "channels_time": None,
    "growth": 2,
    "nfft": 4096,
    "wiener_iters": 0,
    "end_iters": 0,
    "wiener_residual": False,
    "cac": True,
}

HDEMUCS = DemucsClass(
    name="HDemucs",
    arch="hdemucs",
    defaults=_COMMON_TO_HYBRIDS
    | {
        "depth": 6,
        "rewrite": True,
        "hybrid": True,
        "hybrid_old": False,
        "multi_freqs": None,
        "multi_freqs_depth": 2,
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
        "dconv_mode": 1,
        "dconv_depth": 2,
        "dconv_comp": 4,
        "dconv_attn": 4,
        "dconv_lstm": 4,
        "dconv_init": 1e-4,
        "rescale": 0.1,
        "samplerate": 44100,
        "segment": 40,
    },
    fixed={},
)

HTDEMUCS = DemucsClass(
    name="HTDemucs",
    arch="htdemucs",
    defaults=_COMMON_TO_HYBRIDS
    | {
        "depth": 4,
        "rewrite": True,
        "multi_freqs": None,
        "multi_freqs_depth": 3,
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
        "dconv_mode": 1,
        "dconv_depth": 2,
        "dconv_comp": 8,
        "dconv_init": 1e-3,
        "bottom_channels": 0,
        "t_layers": 5,
        "t_emb": "sin",
        "t_hidden_scale": 4.0,
        "t_heads": 8,
        "t_dropout": 0.0,
        "t_max_positions": 10000,
        "t_norm_in": True,
        "t_norm_in_group": False,
        "t_group_norm": False,
        "t_norm_first": True,
        "t_norm_out": True,
        "t_max_period": 10000.0,
        "t_weight_decay": 0.0,
        "t_lr": None,
        "t_layer_scale": True,
        "t_gelu": True,
        "t_weight_pos_embed": 1.0,
        "t_sin_random_shift": 0,
        "t_cape_mean_normalize": True,
        "t_cape_augment": True,
        "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4],
        "t_sparse_self_attn": False,
        "t_sparse_cross_attn": False,
        "t_mask_type": "diag",
        "t_mask_random_seed": 42,
        "t_sparse_attn_window": 500,
        "t_global_window": 100,
        "t_sparsity": 0.95,
        "t_auto_sparsity": False,
        "t_cross_first": False,
        "rescale": 0.1,
        "samplerate": 44100,
        "segment": 10,
        "use_train_segment": True,
    },
    fixed={
        "channels_time": None,
        "cac": True,
        "multi_freqs": None,
        "t_emb": "sin",
        "t_norm_in_group": False,
        "t_group_norm": False,
        "t_norm_first": True,
        "t_gelu": True,
        "t_sparse_self_attn": False,
        "t_sparse_cross_attn": False,
    },
    # filters need magnitudes, bands need multi_freqs, masks sparsity; branches never merge
    idle=frozenset(
        {
            "wiener_iters",
            "end_iters",
            "wiener_residual",
            "multi_freqs_depth",
            "time_stride",
            "t_max_positions",
            "t_weight_decay",
            "t_lr",
            "t_cape_mean_normalize",
            "t_cape_augment",
            "t_cape_glob_loc_scale",
            "t_mask_type",
            "t_mask_random_seed",
            "t_sparse_attn_window",
            "t_global_window",
            "t_sparsity",
            "t_auto_sparsity",
        }
    ),
)

DEMUCS = DemucsClass(
    name="Demucs",
    arch="demucs",
    defaults={
        "audio_channels": 2,
        "channels": 64,
        "growth": 2.0,
        "depth": 6,
        "rewrite": True,
        "lstm_layers": 0,
        "kernel_size": 8,
        "stride": 4,
        "context": 1,
        "gelu": True,
        "glu": True,
        "norm_starts": 4,
        "norm_groups": 4,
        "dconv_mode": 1,
        "dconv_depth": 2,
        "dconv_comp": 4,
        "dconv_attn": 4,
        "dconv_lstm": 4,
        "dconv_init": 1e-4,
        "normalize": True,
        "resample": True,
        "rescale": 0.1,
        "samplerate": 44100,
        "segment": 40,
    },
    fixed={},
)


def hdemucs_from_demucs(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a checkpoint of demucs.hdemucs.HDemucs; see Translator."""
    return HDEMUCS.translate(HDEMUCS.arguments(options), state)


def htdemucs_from_demucs(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a checkpoint of demucs.htdemucs.HTDemucs; see Translator."""
    return HTDEMUCS.translate(HTDEMUCS.arguments(options), state)


def demucs_from_demucs(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> Imported:
    """Translate a checkpoint of demucs.demucs.Demucs (v2 and v3); see Translator."""
    return DEMUCS.translate(DEMUCS.arguments(options), _current_names(state))


def _current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a Demucs v2 under the names of v3; those of a v3 are left alone.

    A layer's second convolution moved from place 2 to 3, since v3 has norms between. Place 2 holds
    an activation there, so a weight of that name is always of v2.
    """
    return {_V2_NAME.sub(r"\1.3.\2", name): value for name, value in state.items()}


KLASSES: dict[str, Translator] = {
    "HDemucs": hdemucs_from_demucs,
    "HTDemucs": htdemucs_from_demucs,
    "Demucs": demucs_from_demucs,
}
"""By the name of the class in a checkpoint."""
