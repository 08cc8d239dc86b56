"""Training segments read from a set in MUSDB18-HQ's layout, beside the musdb package."""

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

from tools.bench_pair import Pair

SEGMENTS = 64
"""Read in one turn, as batches of 4."""


def _train_set() -> Any:
    """Return the demo's training songs, which lie in MUSDB18-HQ's layout."""
    from mss.build import build_dataset
    from mss.compose import compose_config

    return build_dataset(compose_config(["dset=demo"])).split("train")


def ours(options: dict[str, Any], workers: int) -> Callable[[], float]:
    """The loader of a training: four stems of random crops, batched."""
    from mss.data.loader import SegmentLoader
    from mss.data.segments import SegmentDataset

    frames = int(options["seconds"] * 44100)
    loader = SegmentLoader(
        SegmentDataset(_train_set(), frames, items_per_epoch=SEGMENTS, seed=0),
        batch_size=4,
        num_workers=workers,
    )
    epochs = itertools.count()

    def read() -> float:
        return float(sum(len(batch.stems) for batch in loader.epoch(next(epochs))))

    return read


class _MusdbCrops:
    """Random crops of the four sources through musdb's own chunks, as its users read them."""

    def __init__(self, seconds: float) -> None:
        import musdb

        root = _train_set().tracks[0].reader.paths["drums"].parents[2]
        self.tracks = musdb.DB(str(root), is_wav=True, subsets="train", split=None).tracks
        self.seconds = seconds

    def __len__(self) -> int:
        return SEGMENTS

    def __getitem__(self, index: int) -> Any:
        import torch

        track = random.choice(self.tracks)
        track.chunk_duration = self.seconds
        track.chunk_start = random.uniform(0, track.duration - self.seconds)
        stems = [track.sources[name].audio.T for name in ("drums", "bass", "other", "vocals")]
        return torch.stack([torch.as_tensor(stem, dtype=torch.float32) for stem in stems])


def musdb(options: dict[str, Any], workers: int) -> Callable[[], float]:
    """The musdb package behind a plain DataLoader."""
    from torch.utils.data import DataLoader

    crops: Any = _MusdbCrops(options["seconds"])
    loader = DataLoader(crops, batch_size=4, num_workers=workers, persistent_workers=workers > 0)

    def batches() -> Iterator[Any]:
        yield from loader

    def read() -> float:
        return float(sum(len(batch) for batch in batches()))

    return read


LOADER_PAIRS = [
    Pair(
        f"loader-{workers}",
        "segments",
        partial(ours, workers=workers),
        partial(musdb, workers=workers),
        f"musdb {version('musdb')}, {workers} workers",
    )
    for workers in (0, 2)
]
