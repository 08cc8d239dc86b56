"""The results of other systems, which museval wrote, in the form of our own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mss.core.errors import DataError
from mss.eval.museval_json import METRICS, read_museval_json
from mss.eval.results import SUMMARY, StoredResults, read_results
from mss.metrics.bsseval_metric import BSSEval

_NAMES = dict(zip(METRICS, ("csdr", "isr", "sir", "sar"), strict=True))


def is_museval_folder(folder: Path) -> bool:
    """Whether a folder holds songs' scores as museval lays them out."""
    return any(folder.glob("test/**/*.json"))


def read_stored(folder: Path) -> StoredResults:
    """Read a results folder of ours, or one of museval's layout.

    Raises:
        DataError: it is neither, or a file of it can't be read.
    """
    by_museval = not (folder / SUMMARY).exists() and is_museval_folder(folder)
    return read_museval_results(folder) if by_museval else read_results(folder)


def read_museval_results(folder: Path) -> StoredResults:
    """Read ``FOLDER/test/SONG.json`` of every song: each its median over frames.

    Frames that are not defined (or infinite, which museval writes in the same way) are left out,
    source by source, as museval's own aggregation does. What data was scored is not written there:
    two such folders are taken to be of the same where their songs have the same names.

    Raises:
        DataError: there are no such files, or one of them is not of museval's layout.
    """
    paths = sorted(folder.glob("test/**/*.json"))
    if not paths:
        raise DataError(f"{folder}: holds no test/SONG.json of museval's layout")
    tracks: dict[str, dict[str, dict[str, float]]] = {}
    sources: dict[str, None] = {}
    for path in paths:
        framewise = read_museval_json(path)
        sources |= dict.fromkeys(framewise)
        tracks[path.stem] = {
            name: {source: _median(frames[metric]) for source, frames in framewise.items()}
            for metric, name in _NAMES.items()
        }
    measures = {measure.name: measure for measure in BSSEval().measures}
    return StoredResults(
        path=folder,
        system=folder.resolve().name,
        dataset="museval",
        split="test",
        fingerprint="unknown",
        sources=tuple(sources),
        measures=measures,
        ids={name: f"{name}/museval/test@unknown" for name in measures},
        tracks=tracks,
        label="scored by museval",
    )


def _median(frames: list[float]) -> float:
    defined = [score for score in frames if not math.isnan(score)]
    return float(np.median(defined)) if defined else math.nan
