"""What a run is locked to: its configuration, audio format and data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mss.core import distrib
from mss.data.tracks import TrackSet
from mss.solver.checkpoint import checkpoint_path
from mss.solver.lock import check_lock, write_lock, write_provenance


class RunLock:
    """The lock of one run's folder.

    Args:
        folder: of the run.
        values: what decides the result, as plain values.
        sets: the songs.
        labels: content hashes of what decides beside them how they are used.
        open_mappings: keys of `values` whose members the user names.
    """

    def __init__(
        self,
        folder: Path,
        values: Mapping[str, Any],
        sets: Sequence[TrackSet],
        labels: Sequence[str] = (),
        open_mappings: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.values = dict(values)
        self.sets = sets
        self.open_mappings = tuple(open_mappings)
        joined = "\n".join([*(tracks.fingerprint for tracks in sets), *labels])
        self.fingerprint = hashlib.sha256(joined.encode()).hexdigest()

    @property
    def has_checkpoint(self) -> bool:
        return checkpoint_path(self.folder).exists()

    def check(self, accept_changes: bool) -> None:
        """Make sure that the run is what it was when its folder was locked.

        Raises:
            ConfigError: it is not.
        """
        check_lock(
            self.folder,
            self.values,
            self.fingerprint,
            accept_changes,
            open_mappings=self.open_mappings,
            has_checkpoint=self.has_checkpoint,
        )

    def write(self, continued_from: str | None) -> None:
        """Lock the folder, and keep what the data is."""
        if not distrib.is_main():
            return
        write_lock(self.folder, self.values, self.fingerprint)
        data = {}
        for tracks in self.sets:  # songs that a distillation adds go by their own name
            key = tracks.name if tracks.split in data else tracks.split
            data[key] = tracks.manifest()
        write_provenance(self.folder, data, continued_from)
