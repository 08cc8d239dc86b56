"""From command-line overrides to a Hydra configuration, with errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mss.core.errors import ConfigError, nearest_name_hint

CONF = Path(__file__).resolve().parent.parent / "conf"
VERSION_BASE = "1.3"

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, AssertionError)
"""What Hydra, OmegaConf and Dora raise for an override that does not fit."""


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose `conf/` with `overrides` ("group=choice", "key=value").

    Raises:
        ConfigError: there is no conf/ (the lab works from a clone), or an override does not fit.
    """
    if not CONF.is_dir():
        raise ConfigError(
            "conf/: the experiment lab works from a clone of the repository, installed with "
            'pip install -e ".[train]"; this is an installed package alone'
        )
    check_overrides(overrides)
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        try:
            return compose("config", list(overrides))
        except COMPOSITION_ERRORS as error:
            raise explain(error, lambda choices: compose("config", choices), overrides) from error


def check_overrides(overrides: Sequence[str]) -> None:
    """Make sure that every override is an assignment."""
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"{override}: not an override; write key=value or group=choice")


def explain(error: BaseException, compose_with: Any, overrides: Sequence[str]) -> ConfigError:
    """Turn an error of composition into one that names the key and the nearest right one.

    Args:
        error: what Hydra, OmegaConf or Dora raised.
        compose_with: composes a list of overrides (used with the group choices alone).
        overrides: what the user gave.
    """
    text = str(error)
    if isinstance(error, MissingConfigException) or "Could not find '" in text:
        return _unknown_choice(error, text)
    wrong_key = re.search(r"Could not override '([^']+)'", text)
    if wrong_key is not None:
        key = wrong_key.group(1)
        choices = [o for o in overrides if "." not in o.split("=", 1)[0] and o.split("=")[0] != key]
        known = list(_flat_keys(OmegaConf.to_container(compose_with(choices), resolve=False)))
        return ConfigError(f"{key}: there is no such key.{nearest_name_hint(key, known)}")
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return ConfigError(f"{' '.join(overrides)}: {first}")


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
