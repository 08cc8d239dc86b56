"""index.json: what a repo's folder holds, with the full hash of every file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.core.registry import dump_config, make_config

INDEX_NAME = "index.json"
INDEX_SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """One released model.

    Attributes:
        name: full name, the file's name without its ending.
        file: the file's name inside the repo's folder.
        sha256: hex, of the whole file.
        bytes: size of the file.
        signature, arch: see Header.
        sources, samplerate, channels: see AudioSpec.
        parameters: number of trained values.
        scores: by protocol id; may hold more than was known at the export.
        date: when it was listed first (ISO 8601).
        aliases: other names it answers to, such as the one an imported model is published under.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    signature: str
    arch: str
    sources: tuple[str, ...]
    samplerate: int
    channels: int
    parameters: int
    scores: dict[str, Any] = field(default_factory=dict)
    date: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass
class Index:
    """Content of index.json: entries in the order in which they were listed."""

    default: str | None = None
    models: tuple[Entry, ...] = ()

    def entry(self, name: str) -> Entry | None:
        """Return the entry of a full name."""
        return next((entry for entry in self.models if entry.name == name), None)

    def put(self, entry: Entry) -> None:
        """List `entry` as the newest, in place of one of the same name."""
        kept = tuple(other for other in self.models if other.name != entry.name)
        self.models = (*kept, entry)


def write_index(path: Path, index: Index) -> None:
    """Write an index atomically."""
    plain = dump_config(index)
    for entry in plain["models"]:
        if not entry["aliases"]:  # so that versions which know of none read it as before
            del entry["aliases"]
    write_json_atomic(path, {"schema": INDEX_SCHEMA, **plain})


def read_index(path: Path, remedy: str) -> Index:
    """Read and check an index.

    Args:
        path: of index.json.
        remedy: the command that makes a new one, for the message.

    Raises:
        DataError: damaged, or of a newer schema.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: can't be read ({error}); make it again: {remedy}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("schema"), int):
        raise DataError(f"{path}: not an index of released models; make it again: {remedy}")
    if plain["schema"] > INDEX_SCHEMA:
        raise DataError(
            f"{path}: written in schema {plain['schema']} by a newer Stemgrid, this one reads up "
            f"to {INDEX_SCHEMA}: upgrade stemgrid"
        )
    values = {key: value for key, value in plain.items() if key != "schema"}
    try:
        index: Index = make_config(Index, values, "index")
    except ConfigError as error:
        raise DataError(f"{path}: {error}; make it again: {remedy}") from error
    return index
