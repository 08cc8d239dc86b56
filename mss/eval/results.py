"""Results as files: one JSON a song and a summary, each with what its numbers mean."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import mss
from mss.core import registry
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.eval.evaluate import FrameCount, Silence, TrackResult
from mss.eval.museval_json import METRICS, write_museval_json
from mss.eval.protocol import Protocol, System
from mss.eval.summary import MeanScore, MeasureSummary, SourceScore, Summary, summarise
from mss.metrics.base import FramewiseMetric, Measure, Metric

SCHEMA = 2
SUMMARY = "summary.json"
SETTINGS = "settings.json"
_SAME = ("system", "protocol")
_TRACKS = "tracks"
_MUSEVAL = {
    "museval": dict(zip(("csdr", "isr", "sir", "sar"), METRICS, strict=True)),
    "museval_reference": {f"museval_{name.lower()}": name for name in METRICS},
}
"""Folders of files in museval's layout, and in each our names of museval's four metrics."""


class ResultsFolder:
    """The folder of one system, data set and choice of metrics.

    ``ROOT/SYSTEM/DATASET-SPLIT/METRICS`` holds

    - ``settings.json``: system and protocol, written before the first song;
    - ``tracks/SONG.json``: a song's scores, kept by an evaluation that is started again;
    - ``museval/SPLIT/SONG.json``: its frames in museval's layout, where all four were measured
      (``museval_reference`` by that package);
    - ``summary.json``: the scores of the set, once all songs are there.

    Args:
        root: results of all systems.
        system: what is evaluated.
        protocol: what is measured on what.
        metrics: that give the protocol's measures.
    """

    def __init__(
        self, root: Path, system: System, protocol: Protocol, metrics: Sequence[Metric]
    ) -> None:
        kinds = "+".join(_kind(metric) for metric in metrics)
        self.path = root / system.name / f"{protocol.dataset}-{protocol.split}" / kinds
        self.system = system
        self.protocol = protocol
        self._framings = {
            measure.name: (metric.window, metric.hop)
            for metric in metrics
            if isinstance(metric, FramewiseMetric)
            for measure in metric.measures
        }

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Keep other evaluations out of the folder; a killed process leaves no claim behind.

        Raises:
            ConfigError: another process is writing there.
        """
        path = self.path.with_name(f".{self.path.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path, timeout=0):
                yield
        except Timeout as error:
            raise ConfigError(
                f"{self.path}: another process evaluates into this folder; wait for its end, or"
                f" give another -o. If there is none (a file system without locks), remove {path}"
            ) from error

    def prepare(self, anew: bool = False) -> None:
        """Write the settings, or check that the results that are there were made with the same.

        What a killed evaluation left half-written goes.

        Args:
            anew: remove what is there instead.

        Raises:
            ConfigError: results of other data or settings are there.
            DataError: what lies there can't be read.
        """
        settings = plain_numbers(self._settings())
        path = self.path / SETTINGS
        for temporary in self.path.rglob(".*.json"):  # see mss.core.files.atomic_path
            temporary.unlink(missing_ok=True)
        if anew:
            self._remove_results()
        elif path.exists():
            other = _differences(_read_json(path), settings)
            if other:
                raise ConfigError(
                    f"{path}: the results there were made otherwise: {'; '.join(other)}. Give"
                    " another -o, or --anew to replace them"
                )
            return
        write_json_atomic(path, settings)

    def _remove_results(self) -> None:
        """Remove every result; the settings last, which say what the rest is."""
        (self.path / SUMMARY).unlink(missing_ok=True)
        for folder in (_TRACKS, *_MUSEVAL):
            if (self.path / folder).exists():
                shutil.rmtree(self.path / folder)
        (self.path / SETTINGS).unlink(missing_ok=True)

    def drop_summary(self) -> None:
        """Remove the summary: it is not that of the songs which are scored now."""
        (self.path / SUMMARY).unlink(missing_ok=True)

    def write_track(self, result: TrackResult) -> Path:
        """Write one song's result; return the file's path."""
        for folder, names in _MUSEVAL.items():
            if names.keys() <= result.framewise.keys():
                self._write_museval(folder, names, result)
        path = self._track_path(result.track)
        # the last file of a song: where it is, the song is done
        write_json_atomic(path, plain_numbers({**self._settings(), **asdict(result)}))
        return path

    def read_track(self, track: str) -> TrackResult | None:
        """Return a song's result; None where it is not there, or was made otherwise.

        Raises:
            DataError: the file can't be read.
        """
        path = self._track_path(track)
        if not path.exists():
            return None
        content = _read_json(path)
        settings = plain_numbers(self._settings())
        try:
            if any(content[key] != value for key, value in settings.items()):
                return None
            return _track_result(content)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: is not a song's result; remove it, or give --anew") from error

    def summarise(self, results: Sequence[TrackResult]) -> Summary:
        """Aggregate the songs' results."""
        return summarise(results, self.protocol.measures, self.protocol.targets.sources)

    def write_summary(self, results: Sequence[TrackResult]) -> Summary:
        """Aggregate the songs' results, write the summary and return it."""
        summary = self.summarise(results)
        content = {
            **self._settings(),
            "tracks": [result.track for result in results],
            "scores": {
                of_measure.measure.name: _measure_to_json(of_measure)
                for of_measure in summary.measures
            },
            "silence": {source: asdict(silence) for source, silence in summary.silence.items()},
            "remarks": {result.track: result.remarks for result in results if result.remarks},
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

    def _settings(self) -> dict[str, Any]:
        """Return what every file says: what was scored, on what and how."""
        return {
            "schema": SCHEMA,
            "system": self.system.to_json(),
            "protocol": self.protocol.to_json(),
        }

    def _track_path(self, track: str) -> Path:
        return self.path / _TRACKS / f"{track}.json"

    def _write_museval(self, folder: str, names: Mapping[str, str], result: TrackResult) -> None:
        window, hop = self._framings[next(iter(names))]
        framewise = {
            source: {metric: result.framewise[name][source] for name, metric in names.items()}
            for source in self.protocol.targets.sources
        }
        path = self.path / folder / self.protocol.split / f"{result.track}.json"
        version = f"stemgrid {mss.__version__}"
        write_museval_json(path, framewise, window, hop, version)


@dataclass(frozen=True)
class StoredResults:
    """The results that lie in a folder.

    Attributes:
        path: the folder.
        system: its name.
        dataset, split, fingerprint: of the data.
        sources: names.
        measures: the kinds of scores, by name.
        ids: protocol id of each measure.
        tracks: {song: {measure: {source: score}}}; NaN where a score is not defined.
        label: what kind of system, where that has to be said.
        remarks: sentences on how far a song's scores can be trusted, by song.
        settings: how the system was run, by key: what two systems may differ in beside their name.
    """

    path: Path
    system: str
    dataset: str
    split: str
    fingerprint: str
    sources: tuple[str, ...]
    measures: Mapping[str, Measure]
    ids: Mapping[str, str]
    tracks: Mapping[str, Mapping[str, Mapping[str, float]]]
    label: str | None = None
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_results(folder: Path) -> StoredResults:
    """Read a finished evaluation.

    Raises:
        DataError: there is none, or a file of it can't be read.
    """
    path = folder / SUMMARY
    if not path.exists():
        hint = " (its evaluation has not ended)" if (folder / SETTINGS).exists() else ""
        raise DataError(f"{folder}: holds no {SUMMARY}{hint}; test_pretrained writes one")
    summary = _read_json(path)
    try:
        protocol = summary["protocol"]
        measures = {
            name: Measure(**{key: value for key, value in facts.items() if key != "id"})
            for name, facts in protocol["measures"].items()
        }
        results = [_song_of(summary, folder, track) for track in summary["tracks"]]
        return StoredResults(
            path=folder,
            system=summary["system"]["name"],
            dataset=protocol["dataset"],
            split=protocol["split"],
            fingerprint=protocol["fingerprint"],
            sources=tuple(protocol["targets"]),
            measures=measures,
            ids={name: facts["id"] for name, facts in protocol["measures"].items()},
            tracks={result.track: result.scores for result in results},
            label=summary["system"].get("label"),
            remarks={result.track: result.remarks for result in results if result.remarks},
            settings=summary["system"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: {SUMMARY} or a song's file is not a result of ours") from error


def _song_of(summary: Mapping[str, Any], folder: Path, track: str) -> TrackResult:
    """Return a song's result, which has to be of the summary's system and protocol."""
    path = folder / _TRACKS / f"{track}.json"
    content = _read_json(path)
    other = _differences({key: summary[key] for key in _SAME}, {key: content[key] for key in _SAME})
    if other:
        raise DataError(
            f"{path}: is not of the same evaluation as {SUMMARY} ({'; '.join(other)}); evaluate it"
            " again"
        )
    return _track_result(content)


def _track_result(content: Mapping[str, Any]) -> TrackResult:
    """Return what write_track wrote."""
    return TrackResult(
        track=content["track"],
        length=content["length"],
        samplerate=content["samplerate"],
        recorded_mixture=content["recorded_mixture"],
        scores=_floats(content["scores"]),
        do_nothing=_floats(content["do_nothing"]),
        frames={name: FrameCount(**count) for name, count in content["frames"].items()},
        silence={
            source: Silence(**{**facts, "leakage": _floats(facts["leakage"])})
            for source, facts in content["silence"].items()
        },
        framewise=_floats(content["framewise"]),
        remarks=tuple(content["remarks"]),
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


def _floats(value: Any) -> Any:
    """Undo plain_numbers where every value is a number."""
    if isinstance(value, Mapping):
        return {key: _floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_floats(inner) for inner in value]
    return math.nan if value is None else float(value)


def _kind(metric: Metric) -> str:
    """Return the metric's name in the registry's table, else its class's."""
    path = f"{type(metric).__module__}:{type(metric).__qualname__}"
    for name, target in registry.BUILTIN["metric"].items():
        if target == path:
            return name
    return type(metric).__name__.lower()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); remove it, or give --anew") from error


def _differences(there: Any, here: Any, key: str = "") -> list[str]:
    """Name the keys in which two nested values differ."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        return [
            difference
            for name in dict.fromkeys([*there, *here])
            for difference in _differences(
                there.get(name), here.get(name), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if there == here else [f"{key} was {there!r}, is {here!r}"]


def _measure_to_json(summary: MeasureSummary) -> dict[str, Any]:
    return {
        "sources": {source: _score_to_json(row) for source, row in summary.sources.items()},
        "mean": _score_to_json(summary.mean),
        "frames": None if summary.frames is None else asdict(summary.frames),
    }


def _score_to_json(row: SourceScore | MeanScore) -> dict[str, Any]:
    return {**asdict(row), "difference": row.difference}
