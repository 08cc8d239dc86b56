"""`dset=demo`: songs composed and rendered on this machine on first use; no download."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from mss.data.decoded import CacheKind
from mss.data.folder import FolderDataset
from mss.data.scan import Split
from mss.data.synth.demo import ensure_demo_dataset
from mss.data.tracks import TrackSet


class DemoDataset:
    """The embedded default data set, in the shape of MUSDB18-HQ."""

    @dataclass(frozen=True)
    class Config:
        """Keys of `dset=demo`.

        Attributes:
            root: where to keep the songs; null: in the cache folder.
            size: "demo", "demo_large" or "tiny" (for checks).
            seed: of the composer; the same seed gives the same bytes.
            cache: none, int16 or float32: keep decoded copies.
        """

        root: str | None = None
        size: str = "demo"
        seed: int = 0
        cache: CacheKind = "none"

    def __init__(self, config: Config, name: str = "demo") -> None:
        """Args: the keys; the data set's name."""
        self.config = config
        self.name = name

    def split(self, split: Split) -> TrackSet:
        """Return the songs of "train", "valid" or "test", making them first where need be."""
        return self._folder.split(split)

    def has_split(self, split: Split) -> bool:
        """Whether there are songs of a split: of all."""
        return self._folder.has_split(split)

    @functools.cached_property
    def _folder(self) -> FolderDataset:
        root = Path(self.config.root).expanduser() if self.config.root else None
        made = ensure_demo_dataset(root, self.config.size, self.config.seed)
        return FolderDataset(
            FolderDataset.Config(root=str(made), cache=self.config.cache), name=self.name
        )
