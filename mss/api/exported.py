"""A release's networks as they lie exported on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mss.core.separator import Separator
from mss.core.types import ChunkFn
from mss.infer.backends.openvino import Precision
from mss.infer.backends.store import About, ExportBackend, ExportStore, choose_precision

_GAIN = 0.95
"""Exported networks are faster where they need less than this share of torch's time."""


@dataclass(frozen=True)
class ExportedNetworks:
    """The networks of a release's members, exported for one runtime and shape of chunks.

    Attributes:
        store: where they lie.
        backend: the runtime.
        members: the models.
        found: each one's folder, and what is known of it.
    """

    store: ExportStore
    backend: ExportBackend
    members: tuple[Separator, ...]
    found: tuple[tuple[Path, About], ...]

    @property
    def precision(self) -> Precision:
        """bf16 where every member may have it and is faster so, else float32."""
        rounded = all(choose_precision(about) == "bf16" for _, about in self.found)
        return "bf16" if rounded and self.backend == "openvino" else "float32"

    @property
    def faster(self) -> bool:
        """Whether they took less time than torch where they were exported."""
        precision = self.precision
        ours = sum(about.seconds[precision] for _, about in self.found)
        return ours < _GAIN * sum(about.seconds["torch"] for _, about in self.found)

    def chunk_fns(self, precision: Precision, threads: int, streams: int) -> list[ChunkFn]:
        """Return each member's chunk function.

        Args:
            precision: of the products that the model lets be rounded.
            threads: CPU threads, of all calls together.
            streams: calls that may run at once.
        """
        return [
            self.store.chunk_fn(member, self.backend, folder, about, threads, streams, precision)
            for member, (folder, about) in zip(self.members, self.found, strict=True)
        ]


def find_exported(
    store: ExportStore,
    members: Sequence[Separator],
    backend: ExportBackend,
    batch: int,
    frames: int,
) -> ExportedNetworks | None:
    """Return the networks of all members; None where one is missing."""
    found: list[tuple[Path, About]] = []
    for member in members:
        folder = store.folder(member, backend, batch, frames)
        about = store.find(folder)
        if about is None:
            return None
        found.append((folder, about))
    return ExportedNetworks(store, backend, tuple(members), tuple(found))
