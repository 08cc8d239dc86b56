"""What was planted into a data set, for those who measure a filter by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mss.core.errors import DataError
from mss.core.files import write_json_atomic

SCHEMA = 1

NoiseKind = Literal["swap", "bleed"]


@dataclass(frozen=True)
class Planted:
    """What was done to one song.

    Attributes:
        kind: "swap": two stems were exchanged; "bleed": a part of one was moved into another.
        stems: the two that were exchanged; or the one that was bled into, then the one it is of.
        level_db: of a bleed, relative to what it was bled into (dB); None for a swap.
    """

    kind: NoiseKind
    stems: tuple[str, str]
    level_db: float | None = None

    @property
    def noisy(self) -> tuple[str, ...]:
        """The stems that hold what their name does not say."""
        return self.stems if self.kind == "swap" else self.stems[:1]


@dataclass(frozen=True)
class NoiseTruth:
    """What was done to a data set.

    Attributes:
        stems: of every song.
        songs: every training song's name, with what was done to it; None: nothing.
        settings: what decided it.
    """

    stems: tuple[str, ...]
    songs: Mapping[str, Planted | None]
    settings: Mapping[str, Any]

    def kind(self, song: str, stem: str) -> NoiseKind | None:
        """Return what is wrong with a stem; None: nothing."""
        planted = self.songs[song]
        return planted.kind if planted is not None and stem in planted.noisy else None


def write_truth(path: Path, truth: NoiseTruth) -> None:
    """Write the truth as JSON, atomically."""
    songs = {name: planted and asdict(planted) for name, planted in sorted(truth.songs.items())}
    settings = dict(truth.settings)
    content = {"schema": SCHEMA, "settings": settings, "stems": list(truth.stems), "songs": songs}
    write_json_atomic(path, content)


def read_truth(path: Path) -> NoiseTruth:
    """Read what `write_truth` wrote.

    Raises:
        DataError: it is not there, or not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, not {SCHEMA}")
        songs = {
            name: planted and Planted(planted["kind"], tuple(planted["stems"]), planted["level_db"])
            for name, planted in content["songs"].items()
        }
        return NoiseTruth(tuple(content["stems"]), songs, content["settings"])
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is no truth.json of tools.plant_noise ({error!r}); plant the noise again"
        ) from error
