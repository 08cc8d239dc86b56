"""Results folders of made-up scores."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mss.core.targets import TargetMap
from mss.eval.evaluate import Silence, TrackResult
from mss.eval.protocol import Protocol, System
from mss.eval.results import ResultsFolder
from mss.metrics.base import Measure, SingleMetric

Scores = Mapping[str, Mapping[str, float]]
"""{song: {source: score}}"""

GAIN = Measure("gain", "dB", True, "how good it is", "nobody, 2025")
LOSS = Measure("loss", "points", False, "how bad it is", "nobody, 2025", over_tracks="median")


def write_scores(
    root: Path,
    system: str,
    scores: Scores | Mapping[Measure, Scores],
    dataset: str = "demo",
    split: str = "test",
    fingerprint: str = "f" * 64,
    samplerate: int = 44100,
    label: str | None = None,
) -> Path:
    """Write the results of a system, as an evaluation does, and return their folder.

    Args:
        scores: by measure, or those of GAIN.
    """
    by_measure = {GAIN: scores} if isinstance(next(iter(scores)), str) else scores
    songs = list(dict.fromkeys(song for of in by_measure.values() for song in of))
    sources = tuple(
        dict.fromkeys(
            source for of in by_measure.values() for song in of.values() for source in song
        )
    )
    protocol = Protocol(
        dataset=dataset,
        split=split,
        fingerprint=fingerprint,
        samplerate=samplerate,
        channels=2,
        targets=TargetMap(sources, tuple((source,) for source in sources)),
        measures=tuple(by_measure),
    )
    metrics = [_metric(measure) for measure in by_measure]
    folder = ResultsFolder(root, System(system, label=label), protocol, metrics)
    folder.prepare()
    results = []
    for song in songs:
        of_song = {
            measure.name: {source: of[song].get(source, math.nan) for source in sources}
            for measure, of in by_measure.items()
        }
        silence = {source: Silence(False, 0, math.nan) for source in sources}
        results.append(TrackResult(song, 1000, samplerate, True, of_song, {}, silence=silence))
        folder.write_track(results[-1])
    folder.write_summary(results)
    return folder.path


def songs(source: str, *values: float) -> dict[str, dict[str, float]]:
    """Return scores of one source in songs of the names 00, 01, ..."""
    return {f"{index:02}": {source: value} for index, value in enumerate(values)}


def _metric(measure: Measure) -> SingleMetric:
    """Return a metric that says what its measure is; folders are named after its class."""

    class Stated(SingleMetric):
        @property
        def measure(self) -> Measure:
            return measure

        def __call__(self, reference: Tensor, estimate: Tensor, samplerate: int) -> Tensor:
            raise NotImplementedError

    return type(measure.name, (Stated,), {})()
