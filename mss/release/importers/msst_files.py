"""Files of Music-Source-Separation-Training: a checkpoint and the yaml it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.files import file_sha256
from mss.release.importers.foreign import Foreign, Hints
from mss.release.importers.pickled import require_state
from mss.release.importers.plain_files import read_yaml
from mss.release.importers.translators import kinds

# Keys under `model` that one architecture alone has, in order of their weight.
_TELLING = {
    "freqs_per_bands": "bs_roformer",
    "num_bands": "mel_band_roformer",
    "band_SR": "scnet",
    "num_blocks_per_scale": "mdx23c",
}
_WRAPPERS = ("state", "state_dict", "model_state_dict")
_CONFIG_ENDINGS = (".yaml", ".yml")


def msst_model(path: Path, content: Any, hints: Hints) -> Foreign:
    """Return the model of a checkpoint's content and its yaml.

    Args:
        path: of the checkpoint.
        content: its weights by name, perhaps under `state`, `state_dict` or `model_state_dict`.
        hints: the yaml, where it does not lie beside; the architecture, where it can't be guessed.

    Raises:
        DataError: no weights, no yaml, or a wrong one.
        ConfigError: the architecture must be said, or is not one of ours.
    """
    state = require_state(unwrapped(content), path)
    config = hints.config if hints.config is not None else _config_beside(path)
    options = read_yaml(config)
    kind = _kind(options, config, hints.kind)
    sha256 = file_sha256(path)
    return Foreign(
        path=path,
        format="Music-Source-Separation-Training checkpoint and yaml",
        translator=f"msst/{kind}",
        options=options,
        state=state,
        signature=sha256[:8],
        files={path.name: sha256, config.name: file_sha256(config)},
    )


def unwrapped(content: Any) -> Any:
    """Return the state dict inside of what a training program saved around it."""
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return content


def _config_beside(path: Path) -> Path:
    """Return the yaml that lies beside a checkpoint: of its name, else the only one."""
    for ending in _CONFIG_ENDINGS:
        if (same := path.with_suffix(ending)).is_file():
            return same
    there = [file for file in sorted(path.parent.iterdir()) if file.suffix in _CONFIG_ENDINGS]
    if len(there) == 1:
        return there[0]
    found = f"{len(there)} yaml files lie" if there else "no yaml lies"
    raise DataError(
        f"{path}: {found} beside it; name the one that its author published with it: "
        "--config FILE.yaml"
    )


def _kind(options: Mapping[str, Any], config: Path, said: str | None) -> str:
    """Return the architecture: as the user says, as the yaml says, as its keys tell."""
    known = kinds("msst")
    model = options.get("model")
    if said is not None and said not in known:
        raise ConfigError(f"--type {said}: not importable.{nearest_name_hint(said, known)}")
    if isinstance(model, str) and model in known:
        return model  # the type `htdemucs` covers all of demucs: `model: hdemucs` and its section
    if said is not None:
        return said
    training = options.get("training")
    stated = training.get("model_type") if isinstance(training, Mapping) else None
    if stated is not None and stated not in known:
        raise ConfigError(
            f"{config}: training.model_type: {stated!r} is not importable."
            f"{nearest_name_hint(str(stated), known)}"
        )
    if stated is not None:
        return str(stated)
    if isinstance(model, Mapping):
        if len(found := [kind for key, kind in _TELLING.items() if key in model]) == 1:
            return found[0]
    elif not isinstance(model, str):
        raise DataError(
            f"{config}: the section 'model' is missing; bring the yaml of this checkpoint"
        )
    raise ConfigError(
        f"{config}: does not tell its architecture; say it: --type {' | '.join(known)}"
    )
