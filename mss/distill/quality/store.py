"""Scored songs as files, so that hours of separations are not lost with a killed process."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.distill.quality.table import Row

_SETTINGS = "settings.json"
_TRACKS = "tracks"


@dataclass(frozen=True)
class ScoredTrack:
    """One labelled song.

    Attributes:
        name: of the song.
        content: hash of its audio.
        rows: its segments.
        silent: {source: segments in which it is silent}; they have no row.
    """

    name: str
    content: str
    rows: tuple[Row, ...]
    silent: Mapping[str, int]


class ScoreStore:
    """A folder of scored songs that were all scored alike.

    ``settings.json`` says how, ``tracks/SONG.json`` has a song's rows.

    Args:
        folder: made where it is missing.
        settings: plain values that decide the scores.
        anew: songs that are there are scored again.

    Raises:
        ConfigError: the songs there were scored otherwise.
        DataError: a file there can't be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], anew: bool = False) -> None:
        self.folder = folder
        path = folder / _SETTINGS
        if anew:
            # the settings last: without them nothing of the rest counts
            for old in sorted((folder / _TRACKS).glob("*.json")):
                old.unlink()
            path.unlink(missing_ok=True)
        wanted = json.loads(json.dumps(plain_values(settings)))  # as it is read back
        if path.exists():
            there = _read(path)
            other = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
            if other:
                raise ConfigError(
                    f"{path}: the songs there were scored otherwise ({', '.join(other)}). Give"
                    " another -o, or --anew to score them again"
                )
            return
        write_json_atomic(path, wanted)

    def read(self, track: str, content: str) -> ScoredTrack | None:
        """Return a song; None where it is not scored yet, or with other audio.

        Args:
            track: name of the song.
            content: hash of its audio.

        Raises:
            DataError: its file can't be read.
        """
        path = self._path(track)
        if not path.exists():
            return None
        values = _read(path)
        try:
            if values["content"] != content:
                return None
            rows = [
                Row(track, row["source"], row["start"], row["sdr"], _numbers(row["scores"]))
                for row in values["rows"]
            ]
            return ScoredTrack(track, content, tuple(rows), values["silent"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{path}: is no scored song ({error}); remove it") from error

    def write(self, scored: ScoredTrack) -> None:
        """Write a song."""
        rows = [
            {key: value for key, value in asdict(row).items() if key != "track"}
            for row in scored.rows
        ]
        values = {
            "track": scored.name,
            "content": scored.content,
            "rows": rows,
            "silent": dict(scored.silent),
        }
        write_json_atomic(self._path(scored.name), plain_values(values))

    def _path(self, track: str) -> Path:
        return self.folder / _TRACKS / f"{track}.json"


def plain_values(value: Any) -> Any:
    """Return nested values with null for every NaN, as JSON knows none."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(entry) for entry in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Undo plain_values."""
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error}); remove it") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not what was written there; remove it")
    return content
