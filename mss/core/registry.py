"""From a name in a yaml file or a release to a class and its typed configuration.

One table per kind maps a name to "module:Class". Names are matched by equality and never become
part of an import path, so neither a config nor a downloaded file can make the program import what
is not listed here or in an installed package's entry points (group ``stemgrid.<kind>``).

Every registered class has a frozen dataclass `Config`; its fields are the yaml's keys.
"""

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from mss.core.errors import ConfigError, nearest_name_hint

BUILTIN: dict[str, dict[str, str]] = {
    "model": {
        "bsrnn": "mss.models.bsrnn:BandSplitRNN",
        "d3net": "mss.models.d3net:D3Net",
        "demucs": "mss.models.demucs:Demucs",
        "bs_roformer": "mss.models.bs_roformer:BSRoformer",
        "hdemucs": "mss.models.hdemucs:HDemucs",
        "htdemucs": "mss.models.htdemucs:HTDemucs",
        "mel_roformer": "mss.models.mel_roformer:MelRoformer",
        "openunmix": "mss.models.openunmix:OpenUnmix",
        "scnet": "mss.models.scnet:SCNet",
        "mdx23c": "mss.models.mdx23c:MDX23C",
        "spleeter": "mss.models.spleeter:Spleeter",
        "xumx": "mss.models.xumx:XUMX",
    },
    "loss": {
        "l1": "mss.losses.waveform:L1Loss",
        "mse": "mss.losses.waveform:MSELoss",
        "sdr": "mss.losses.ratio:SDRLoss",
        "si_sdr": "mss.losses.ratio:SISDRLoss",
        "l1_snr": "mss.losses.ratio:L1SNRLoss",
        "spectral": "mss.losses.spectral:SpectralLoss",
        "mrstft": "mss.losses.mrstft:MRSTFTLoss",
        "multidomain": "mss.losses.multidomain:MultiDomainLoss",
        "combination": "mss.losses.multidomain:CombinationLoss",
        "log_wmse": "mss.losses.log_wmse:LogWMSELoss",
        "truncated": "mss.losses.truncated:TruncatedLoss",
        "sum": "mss.losses.weighted_sum:SumLoss",
    },
    "batch_augment": {
        "shift": "mss.augment.batch:Shift",
        "flip_channels": "mss.augment.batch:FlipChannels",
        "flip_sign": "mss.augment.batch:FlipSign",
        "scale": "mss.augment.batch:Scale",
        "remix": "mss.augment.batch:Remix",
    },
    "loader_augment": {
        "soundstretch": "mss.augment.soundstretch:SoundStretch",
    },
    "metric": {
        "nsdr": "mss.metrics.energy:NSDR",
        "si_sdr": "mss.metrics.energy:SISDR",
        "csdr": "mss.metrics.bsseval_metric:CSDR",
        "bsseval": "mss.metrics.bsseval_metric:BSSEval",
        "museval": "mss.metrics.museval_backend:Museval",
        "mrstft": "mss.metrics.spectral:MRSTFT",
        "l1_freq": "mss.metrics.spectral:L1Freq",
        "aura_stft": "mss.metrics.aura:AuraSTFT",
        "aura_mrstft": "mss.metrics.aura:AuraMRSTFT",
        "bleed_full": "mss.metrics.bleed:BleedFull",
        "bleed_full_mr": "mss.metrics.bleed:MultiResolutionBleedFull",
        "l1_snr": "mss.metrics.l1_snr:L1SNR",
        "log_wmse": "mss.metrics.log_wmse:LogWMSE",
    },
    "dataset": {
        "folder": "mss.data.folder:FolderDataset",
        "labelnoise": "mss.data.labelnoise:LabelNoiseDataset",
        "demo": "mss.data.demo:DemoDataset",
        "musdb18hq": "mss.data.musdb:Musdb18HQDataset",
        "musdb18": "mss.data.musdb:Musdb18Dataset",
        "musdb7s": "mss.data.musdb:Musdb7sDataset",
    },
    "distill": {
        "pskd": "mss.distill.progressive:ProgressiveDistillation",
        "teacher": "mss.distill.teacher:TeacherDistillation",
        "pseudo_label": "mss.distill.pseudo:PseudoLabels",
        "silent_stem": "mss.distill.silent_stem:SilentStem",
        "remixit": "mss.distill.unlabelled:RemixIt",
        "mean_teacher": "mss.distill.unlabelled:MeanTeacher",
    },
    "optim": {
        "adam": "mss.solver.optim:Adam",
        "adamw": "mss.solver.optim:AdamW",
    },
    "schedule": {
        "constant": "mss.solver.schedule:Constant",
        "cosine": "mss.solver.schedule:Cosine",
        "plateau": "mss.solver.schedule:Plateau",
        "steps": "mss.solver.steps:Steps",
    },
}


def names(kind: str, plugins: bool = True) -> tuple[str, ...]:
    """Return every name of a kind, built-in ones first, then those of installed plug-ins."""
    known = dict.fromkeys(BUILTIN[kind])
    if plugins:
        known |= dict.fromkeys(entry.name for entry in entry_points(group=f"stemgrid.{kind}"))
    return tuple(known)


def resolve(kind: str, name: Any, plugins: bool = True, where: str | None = None) -> Any:
    """Return the class registered as `name`.

    Args:
        kind: "model", "loss", ... (a key of BUILTIN).
        name: matched by equality, as a yaml gives it.
        plugins: look at installed packages' entry points too. Off for a released file, unless
            its user says so.
        where: the key that holds the name, for messages (default: `kind`).

    Raises:
        ConfigError: no such name (the nearest one is told), or a plug-in that cannot be loaded.
    """
    where = where or kind
    if not isinstance(name, str):
        hint = nearest_name_hint(str(name), names(kind, plugins))
        raise ConfigError(f"{where}: {name!r} is not the name of a {kind}.{hint}")
    target = BUILTIN[kind].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    if plugins:
        for entry in entry_points(group=f"stemgrid.{kind}"):
            if entry.name == name:
                return _load_plugin(entry, where)
    hint = nearest_name_hint(name, names(kind, plugins))
    raise ConfigError(f"{where}: there is no {kind} named {name!r}.{hint}")


def _load_plugin(entry: EntryPoint, where: str) -> Any:
    """Return the class that another package's entry point names."""
    try:
        found = entry.load()
    except Exception as error:  # a foreign module may raise whatever it likes while it is imported
        fault = f"cannot be loaded ({type(error).__name__}: {error})"
        raise _plugin_error(entry, where, fault) from error
    if not dataclasses.is_dataclass(getattr(found, "Config", None)):
        raise _plugin_error(entry, where, "has no dataclass `Config`")
    return found


def _plugin_error(entry: EntryPoint, where: str, fault: str) -> ConfigError:
    package = entry.dist.name if entry.dist else "an unknown package"
    return ConfigError(
        f"{where}: the plug-in {entry.name} = {entry.value} of {package} {fault}; mend or uninstall"
        " that package"
    )


@functools.cache
def _adapter(config_class: Any) -> TypeAdapter[Any]:
    return TypeAdapter(config_class)


def make_config(config_class: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build a typed configuration from plain values, checking every key.

    Args:
        config_class: a frozen dataclass.
        values: plain numbers, strings, lists and mappings, as yaml or JSON give them.
        where: what the keys belong to, for messages ("model" makes "model.hiden: ...").

    Raises:
        ConfigError: a key that does not exist, one that is missing, or a value of a wrong type.
    """
    known = [f.name for f in dataclasses.fields(config_class)]
    for key in values:
        if key not in known:
            hint = nearest_name_hint(str(key), known)
            raise ConfigError(f"{where}.{key}: there is no such key.{hint}")
    try:
        return _adapter(config_class).validate_python(dict(values))
    except ValidationError as error:
        # loc holds the path of keys; pydantic adds names of union members at its end, harmless.
        problems = [
            f"{'.'.join([where, *map(str, problem['loc'])])}: {_message(problem)}"
            for problem in error.errors()
        ]
        raise ConfigError("; ".join(problems)) from error


def _message(problem: Any) -> str:
    if problem["type"] == "missing":
        return "this key is needed"
    return f"{problem['msg']} (got {problem['input']!r})"


def dump_config(config: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON values; `make_config` reads them back unchanged."""
    config_class: Any = type(config)
    plain: dict[str, Any] = _adapter(config_class).dump_python(config, mode="json")
    return plain


def build(
    kind: str, values: Mapping[str, Any], *args: Any, where: str | None = None, **kwargs: Any
) -> Any:
    """Return ``Class(config, *args, **kwargs)`` for ``{"name": ..., **config values}``.

    Raises:
        ConfigError: a name, key or value that is wrong, also one that only the class stumbles over.
    """
    where = where or kind
    if "name" not in values:
        raise ConfigError(f"{where}.name: this key is needed. Known: {', '.join(names(kind))}")
    rest = {key: value for key, value in values.items() if key != "name"}
    name = values["name"]
    found = resolve(kind, name, where=f"{where}.name")
    config = make_config(found.Config, rest, where)
    try:
        return found(config, *args, **kwargs)
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, but the machine's fault
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(
            f"{where}: these values do not build the {kind} {name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
