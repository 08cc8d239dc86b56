"""The results of other systems, which museval wrote, in the form of our own."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from mss.core.errors import DataError
from mss.eval.museval_json import METRICS, Framewise, read_museval_framing, read_museval_json
from mss.eval.results import SUMMARY, StoredResults, read_results
from mss.eval.run_tests import TEST_TRACKS, read_run_test
from mss.metrics.base import Measure
from mss.metrics.bsseval_metric import BSSEval, FramesConfig

_NAMES = dict(zip(METRICS, ("csdr", "isr", "sir", "sar"), strict=True))

UNKNOWN_DATA = "unknown"
"""The fingerprint of data that nothing is known of but the names of its songs."""


def is_museval_folder(folder: Path) -> bool:
    """Whether a folder holds songs' scores as museval lays them out."""
    return any(folder.glob("test/**/*.json"))


def read_stored(folder: Path) -> StoredResults:
    """Read a results folder of ours, a run's own test, or a folder of museval's layout.

    Raises:
        DataError: it is none of them, or a file of it can't be read.
    """
    if not (folder / SUMMARY).exists() and (folder / TEST_TRACKS).exists():
        return read_run_test(folder)
    by_museval = not (folder / SUMMARY).exists() and is_museval_folder(folder)
    return read_museval_results(folder) if by_museval else read_results(folder)


def read_museval_results(folder: Path) -> StoredResults:
    """Read ``FOLDER/test/SONG.json`` of every song: each its median over frames.

    Frames that are not defined (or infinite, which museval writes in the same way) are left out,
    source by source, as museval's own aggregation does; a source that a song has not got is not
    defined there. The frames and the names of the sources are a part of the protocol. What data was
    scored is not written there: two such folders are taken to be of the same where their songs have
    the same names.

    Raises:
        DataError: there are no such files, one of them is not of museval's layout, or they have
            other frames than the first.
    """
    paths = sorted(folder.glob("test/**/*.json"))
    if not paths:
        raise DataError(f"{folder}: holds no test/SONG.json of museval's layout")
    framewise = {path.stem: read_museval_json(path) for path in paths}
    sources = tuple(dict.fromkeys(source for of_song in framewise.values() for source in of_song))
    measures = {measure.name: measure for measure in BSSEval(_common_frames(paths)).measures}
    return StoredResults(
        path=folder,
        system=folder.resolve().name,
        dataset="museval",
        split="test",
        fingerprint=UNKNOWN_DATA,
        sources=sources,
        measures=measures,
        ids={name: _protocol_id(measure, sources) for name, measure in measures.items()},
        tracks={song: _song_scores(of_song, sources) for song, of_song in framewise.items()},
        label="scored by museval",
    )


def _song_scores(framewise: Framewise, sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return {measure: {source: median over frames}}; NaN of a source that the song has not got."""
    return {
        name: {source: _median(framewise.get(source, {}).get(metric, [])) for source in sources}
        for metric, name in _NAMES.items()
    }


def _common_frames(paths: Sequence[Path]) -> FramesConfig:
    """Return the frames of all songs; of songs with a single frame, one follows the other.

    Raises:
        DataError: two songs have different ones.
    """
    first = read_museval_framing(paths[0])[0]
    hop: Fraction | None = None
    for path in paths:
        own_window, own_hop = read_museval_framing(path)
        hop = own_hop if hop is None else hop
        if own_window != first or own_hop not in (None, hop):
            raise DataError(
                f"{path}: has frames of {_describe(own_window, own_hop)}, and songs before it of"
                f" {_describe(first, hop)}; put what was scored otherwise into another folder"
            )
    return FramesConfig(first, hop or first)


def _describe(window: Fraction, hop: Fraction | None) -> str:
    return f"{window} s" if hop is None else f"{window} s every {hop} s"


def _protocol_id(measure: Measure, sources: Sequence[str]) -> str:
    """Return an id as mss.eval.results.Protocol has it, of the little that is known."""
    facts = [measure.definition, measure.over_tracks, sorted(sources)]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return f"{measure.name}/museval/test@{digest[:8]}"


def _median(frames: Sequence[float]) -> float:
    defined = [score for score in frames if not math.isnan(score)]
    return float(np.median(defined)) if defined else math.nan
