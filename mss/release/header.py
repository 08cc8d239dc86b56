"""What a released file says about itself: one JSON text in its safetensors metadata."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError
from mss.core.registry import dump_config, make_config
from mss.core.types import AudioSpec, InferenceDefaults

SCHEMA = 1
"""Raised when an older program could no longer read a newer file rightly."""

NO_LICENCE = "not stated"

_NAME_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Header:
    """Everything that is needed to build a released model, and where it came from.

    Attributes:
        arch: registered name of the architecture; looked up by equality, never imported.
        signature: of the run that made the weights (Dora's), or of an imported checkpoint.
        config: keys and plain values of the architecture's `Config`.
        spec: what the model takes and gives.
        inference: how it is to be run over a whole file.
        parameters: number of trained values (a weight shared by two layers counts once).
        version: of the Stemgrid that wrote the file.
        provenance: data, code and environment of the training, as the run recorded them.
        scores: what was known at the export, by protocol id:
            ``{"nsdr/musdb18hq/test": {"vocals": 7.1, "mean": 6.4}}``.
        licence: of the weights.
        created: date of the *run* (ISO 8601). Not that of the export: the same run exported twice
            gives the same bytes.
    """

    arch: str
    signature: str
    config: dict[str, Any]
    spec: AudioSpec
    inference: InferenceDefaults
    parameters: int
    version: str
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = NO_LICENCE
    created: str | None = None

    def __post_init__(self) -> None:
        for key, text in (("arch", self.arch), ("signature", self.signature)):
            if not _NAME_PART.fullmatch(text):  # both become part of a file's name
                raise ConfigError(
                    f"{key}: {text!r} can't be part of a file's name; use letters, digits, _ . -"
                )

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names the model answers to; an import records that of its source."""
        found = self.provenance.get("aliases")
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()

    @property
    def prefix(self) -> str:
        """Start of the released file's name: ``<arch>-<signature>``."""
        return f"{self.arch}-{self.signature}"


def header_to_json(header: Header) -> str:
    """Return the header as JSON text. Equal headers give equal texts.

    Raises:
        ConfigError: a field holds what JSON can't say: NaN, infinity, a tensor, a path.
    """
    plain: dict[str, Any] = {"schema": SCHEMA}
    for entry in dataclasses.fields(header):
        value = getattr(header, entry.name)
        plain[entry.name] = dump_config(value) if dataclasses.is_dataclass(value) else value
        require_json(plain[entry.name], entry.name)
    return json.dumps(plain)


def require_json(value: Any, what: str) -> None:
    """Raise a ConfigError unless `value` is plain JSON (finite numbers, text, lists, mappings)."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{what}: {error}; a release holds finite numbers, text, lists and mappings only "
            "(write null for a score that does not exist)"
        ) from error


def header_from_plain(plain: Mapping[str, Any], path: Path) -> Header:
    """Build and check the header of `path` from its parsed JSON.

    Raises:
        DataError: an unknown, missing or mistyped key.
    """
    values = {key: value for key, value in plain.items() if key != "schema"}
    with faults_of(path):
        for key, kind in (("spec", AudioSpec), ("inference", InferenceDefaults)):
            if isinstance(values.get(key), dict):
                values[key] = make_config(kind, values[key], f"header.{key}")
        header: Header = make_config(Header, values, "header")
    return header


@contextlib.contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Turn a ConfigError into a DataError that names the file: its user did not write the key."""
    try:
        yield
    except ConfigError as error:
        raise DataError(
            f"{path}: {error} The file was made by another version of Stemgrid or by another "
            "program; install that version, or export the model again."
        ) from error
