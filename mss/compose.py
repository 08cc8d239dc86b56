"""From command-line overrides to a Hydra configuration, with errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, nearest_name_hint

LAB_ONLY = (
    "the experiment lab works from a clone of the repository, installed with "
    'pip install -e ".[train]"; this is an installed package alone'
)

try:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf import DictConfig as DictConfig
    from omegaconf import OmegaConf as OmegaConf
    from omegaconf.errors import OmegaConfBaseException
except ModuleNotFoundError as error:
    raise ConfigError(f"{error.name}: not installed; {LAB_ONLY}") from error

CONF = Path(__file__).resolve().parent.parent / "conf"
VERSION_BASE = "1.3"

OPEN_MAPPINGS = (
    "augment.batch",
    "augment.loader",
    "distill.blends",
    "loss.weights",
    "loss.loss",
    "loss.parts",
    "loss.stages",
    "schedule.at",
    "test.metrics",
    "targets",
)
"""Mappings whose members the user names; the order of some matters."""

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, AssertionError, ValueError)
"""What Hydra, OmegaConf and Dora raise for an override that does not fit."""


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose `conf/` with `overrides` ("group=choice", "key=value").

    Raises:
        ConfigError: there is no conf/ (the lab works from a clone), or an override does not fit.
    """
    if not CONF.is_dir():
        raise ConfigError(f"conf/: not there; {LAB_ONLY}")
    check_overrides(overrides)
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        try:
            return compose("config", list(overrides))
        except COMPOSITION_ERRORS as error:
            raise explain(error, lambda choices: compose("config", choices), overrides) from error


# Dora reads these before any override is applied, so on the command line they would do nothing.
_FROM_THE_ENVIRONMENT = {
    "slurm": "MSS_SLURM",
    "cluster": "MSS_CLUSTER",
    "dora": "STEMGRID_OUTPUTS",
}


def check_overrides(overrides: Sequence[str]) -> None:
    """Make sure that every override is an assignment, and of a key that takes one."""
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"{override}: not an override; write key=value or group=choice")
        key = override.split("=", 1)[0]
        variable = _FROM_THE_ENVIRONMENT.get(key.lstrip("+~").split(".")[0])
        if variable is not None:
            raise ConfigError(
                f"{key}: has no effect on the command line; choose it by the environment's "
                f"{variable} (see conf/config.yaml), or in a grid by launcher.slurm_"
            )


def explain(error: BaseException, compose_with: Any, overrides: Sequence[str]) -> ConfigError:
    """Turn an error of composition into one that names the key and the nearest right one.

    Args:
        error: what Hydra, OmegaConf or Dora raised.
        compose_with: composes a list of overrides (used with the group choices alone).
        overrides: what the user gave.
    """
    text = str(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"{error.override}: can't be read as key=value; a value with ~ = ( , or blanks needs "
            "quotes of its own: 'key=\"value\"' (and the shell expands no ~ behind a =)"
        )
    if isinstance(error, MissingConfigException) or "Could not find '" in text:
        return _unknown_choice(error, text)
    wrong_key = re.search(r"Could not override '([^']+)'", text)
    if wrong_key is not None:
        key = wrong_key.group(1)
        return ConfigError(f"{key}: there is no such key.{_key_hint(key, compose_with, overrides)}")
    if "Structure of config should be identical" in text:
        return ConfigError(
            f"{' '.join(overrides)}: a mapping was replaced by something else (such as null); turn "
            "an augmentation off by proba: 0 and a group by its choice none"
        )
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return ConfigError(f"{' '.join(overrides)}: {first}")


def _key_hint(key: str, compose_with: Any, overrides: Sequence[str]) -> str:
    """Return the nearest key of the groups that were chosen, and how to add to a mapping."""
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    choices = [o for o in overrides if o.split("=", 1)[0] in groups]
    try:
        cfg = compose_with(choices)
    except COMPOSITION_ERRORS:
        # Another override is wrong as well, and is told once this one is mended.
        cfg = compose_with([])
    known = list(_flat_keys(OmegaConf.to_container(cfg, resolve=False)))
    parent = key.rpartition(".")[0]
    if parent in OPEN_MAPPINGS:
        return f" To add a member to {parent}, write +{key}=..."
    return nearest_name_hint(key, known)


def _unknown_choice(error: BaseException, text: str) -> ConfigError:
    missing = re.search(r"Could not find '([^']+)'", text)
    name = missing.group(1) if missing else str(getattr(error, "missing_cfg_file", "?"))
    group, _, choice = name.rpartition("/")
    folder = CONF / group
    known = sorted(path.stem for path in folder.glob("*.yaml")) if group else []
    if not known:
        groups = sorted(path.name for path in CONF.iterdir() if path.is_dir())
        return ConfigError(f"{group or name}: no such group.{nearest_name_hint(group, groups)}")
    hint = nearest_name_hint(choice, known)
    return ConfigError(f"{group}={choice}: no such choice.{hint}")


def _flat_keys(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from _flat_keys(inner, f"{prefix}{key}.")
