"""Results as files: one JSON a song and a summary, each with what its numbers mean."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mss
from mss.core import registry
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.core.targets import TargetMap
from mss.core.types import InferenceDefaults
from mss.eval.evaluate import TrackResult
from mss.eval.summary import MeanScore, MeasureSummary, SourceScore, Summary, summarise
from mss.metrics.base import Measure

SCHEMA = 1
SUMMARY = "summary.json"
_TRACKS = "tracks"


@dataclass(frozen=True)
class Protocol:
    """What was measured on what. Two scores of one protocol id can be compared.

    Attributes:
        dataset: name of the data set.
        split: of it.
        fingerprint: hash of its content.
        samplerate: Hz at which the scores are taken.
        channels: of references and estimates.
        targets: which stems sum to which source.
        measures: the kinds of scores.
    """

    dataset: str
    split: str
    fingerprint: str
    samplerate: int
    channels: int
    targets: TargetMap
    measures: tuple[Measure, ...]

    def id(self, measure: Measure) -> str:
        """Return ``"nsdr/musdb18hq/test@3f2a91c0"``.

        The last part is a hash of the measure's definition and aggregation, the content of the
        data, sample rate, channels and targets.
        """
        facts = [
            measure.definition,
            measure.over_tracks,
            self.fingerprint,
            self.samplerate,
            self.channels,
            sorted((source, sorted(stems)) for source, stems in self._rows()),
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return f"{measure.name}/{self.dataset}/{self.split}@{digest[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Return the protocol as plain values."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "fingerprint": self.fingerprint,
            "samplerate": self.samplerate,
            "channels": self.channels,
            "targets": {source: list(stems) for source, stems in self._rows()},
            "measures": {
                measure.name: {"id": self.id(measure), **asdict(measure)}
                for measure in self.measures
            },
        }

    def _rows(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(zip(self.targets.sources, self.targets.stems, strict=True))


@dataclass(frozen=True)
class System:
    """What was evaluated, and how it was run.

    Attributes:
        name: of the released model or bag.
        inference: segment, overlap, window and normalisation.
        batch_size: chunks that were separated together.
        shifts: random shifts that were averaged; nothing is random without.
        seed: of the shifts.
    """

    name: str
    inference: InferenceDefaults
    batch_size: int = 1
    shifts: int = 0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the system as plain values, with the version of Stemgrid that ran it."""
        return {
            "name": self.name,
            "stemgrid": mss.__version__,
            "inference": registry.dump_config(self.inference),
            "batch_size": self.batch_size,
            "shifts": self.shifts,
            "seed": self.seed,
        }


class ResultsFolder:
    """The folder of one system on one data set: ``tracks/<song>.json`` and ``summary.json``.

    Args:
        root: results of all systems; the folder is ``root/<system>/<data set>``.
        system: what is evaluated.
        protocol: what is measured on what.

    Raises:
        ConfigError: the folder holds results on other data.
        DataError: the summary that lies in it can't be read.
    """

    def __init__(self, root: Path, system: System, protocol: Protocol) -> None:
        self.path = root / system.name / protocol.dataset
        self.system = system
        self.protocol = protocol
        self._refuse_other_data()

    def write_track(self, result: TrackResult) -> Path:
        """Write one song's result; return the file's path."""
        path = self.path / _TRACKS / f"{result.track}.json"
        ids = {measure.name: self.protocol.id(measure) for measure in self.protocol.measures}
        content = {"schema": SCHEMA, "system": self.system.name, "protocols": ids, **asdict(result)}
        write_json_atomic(path, plain_numbers(content))
        return path

    def write_summary(self, results: Sequence[TrackResult]) -> Summary:
        """Aggregate the songs' results, write the summary and return it."""
        summary = summarise(results, self.protocol.measures, self.protocol.targets.sources)
        content = {
            "schema": SCHEMA,
            "system": self.system.to_json(),
            "protocol": self.protocol.to_json(),
            "tracks": [result.track for result in results],
            "scores": {
                of_measure.measure.name: _measure_to_json(of_measure)
                for of_measure in summary.measures
            },
            "silence": {source: asdict(silence) for source, silence in summary.silence.items()},
        }
        write_json_atomic(self.path / SUMMARY, plain_numbers(content))
        return summary

    def index_scores(self, summary: Summary) -> dict[str, dict[str, float]]:
        """Return the scores by protocol id, as a repo's index keeps them."""
        table: dict[str, dict[str, float]] = {}
        for of_measure in summary.measures:
            row = {name: row.score for name, row in of_measure.sources.items()}
            row["mean"] = of_measure.mean.score
            known = {
                name: value
                for name, value in row.items()
                if value is not None and math.isfinite(value)
            }
            table[self.protocol.id(of_measure.measure)] = known
        return table

    def _refuse_other_data(self) -> None:
        path = self.path / SUMMARY
        if not path.exists():
            return
        try:
            there = json.loads(path.read_text(encoding="utf-8"))["protocol"]["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: is not a summary of results; move it away or give another -o"
            ) from error
        if there != self.protocol.fingerprint:
            raise ConfigError(
                f"{path}: holds the results on other songs under the same name"
                f" {self.protocol.dataset!r}; give another -o, or remove that folder"
            )


def plain_numbers(value: Any) -> Any:
    """Return nested values for JSON: NaN (not defined) is null, an infinity the text "inf".

    A score is infinite where an estimate equals its reference.
    """
    if isinstance(value, Mapping):
        return {key: plain_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _measure_to_json(summary: MeasureSummary) -> dict[str, Any]:
    return {
        "sources": {source: _score_to_json(row) for source, row in summary.sources.items()},
        "mean": _score_to_json(summary.mean),
        "frames": None if summary.frames is None else asdict(summary.frames),
    }


def _score_to_json(row: SourceScore | MeanScore) -> dict[str, Any]:
    return {**asdict(row), "difference": row.difference}
