"""What is compared: configurations, each with the results folders of its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mss.core.errors import ConfigError, nearest_name_hint
from mss.eval.museval_results import is_museval_folder, read_stored
from mss.eval.results import SUMMARY, StoredResults
from mss.eval.run_tests import TEST_TRACKS
from mss.metrics.base import Measure

Scores = Mapping[str, Mapping[str, float]]
"""{song: {source: score}}, without those that are not defined."""


@dataclass(frozen=True)
class ScoreTable:
    """What one results folder holds of one measure.

    Attributes:
        results: the folder's content.
        measure: what the scores say.
        scores: of each song and source.
    """

    results: StoredResults
    measure: Measure
    scores: Scores


@dataclass(frozen=True)
class Candidate:
    """One configuration: the results of each of its seeds.

    Attributes:
        name: of the configuration.
        seeds: of each seed {protocol id: its scores}.
    """

    name: str
    seeds: tuple[Mapping[str, ScoreTable], ...]

    def ids(self, measure: str | None = None) -> list[str]:
        """Return the protocols by which all seeds were scored."""
        first, *others = self.seeds
        return [
            id
            for id, table in first.items()
            if measure in (None, table.measure.name) and all(id in other for other in others)
        ]


def read_seeds(name: str, folders: Sequence[Path]) -> Candidate:
    """Read one configuration of which each of `folders` is a seed; see read_candidate.

    Raises:
        ConfigError, DataError: as read_candidate.
    """
    return Candidate(name, tuple(_read_system(str(folder), folder) for folder in folders))


def read_candidate(argument: str, root: Path) -> Candidate:
    """Read ``[NAME=]RESULTS[,RESULTS...]``: one configuration, one results folder a seed.

    RESULTS is a results folder, the folder of a system, the name of a system below `root`, the
    folder of a run that was tested, or a folder of museval's own files. Of a system, everything
    that was scored is read. A NAME is needed only where two configurations would have the same.

    Raises:
        ConfigError: there are no such results, they are of several systems, or two seeds are the
            same folder.
        DataError: a file of them can't be read.
    """
    name, equals, listed = argument.partition("=")
    if not equals or Path(argument).is_dir():
        name, listed = "", argument
    given = [listed] if Path(listed).is_dir() else listed.split(",")
    seeds = [_read_system(text.strip(), root) for text in given]
    # one folder has many spellings: NAME, results/NAME, a link ...
    folders = [path for seed in seeds for path in {_folder(table) for table in seed.values()}]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"{argument}: names the same results twice; seeds are different runs")
    own = next(iter(seeds[0].values())).results
    if not name:
        name = own.system if len(seeds) == 1 else f"{own.system} and {len(seeds) - 1} more"
    return Candidate(name if own.label is None else f"{name} ({own.label})", tuple(seeds))


def shared_sources(tables: Sequence[Scores], track: str) -> set[str]:
    """Return the sources that every table defines in a song.

    None where their scores have no mean, since some are the one infinity and some the other.
    """
    first, *others = (table.get(track, {}) for table in tables)
    shared = set(first).intersection(*others)
    values = {table[track][source] for table in tables for source in shared}
    return set() if {math.inf, -math.inf} <= values else shared


def song_score(system: Sequence[ScoreTable], track: str, sources: Iterable[str]) -> float:
    """Return the mean over sources and seeds."""
    return statistics.fmean(
        table.scores[track][source] for table in system for source in sorted(sources)
    )


def _read_system(text: str, root: Path) -> dict[str, ScoreTable]:
    """Return the scores of one system by protocol id."""
    found: dict[str, ScoreTable] = {}
    for folder in _results_folders(text, root):
        results = read_stored(folder)
        for name, measure in results.measures.items():
            table = ScoreTable(results, measure, _defined(results, name))
            same = found.setdefault(results.ids[name], table)
            if same.results.system != results.system:
                raise ConfigError(
                    f"{text}: holds the results of {same.results.system} and {results.system};"
                    " give the folder of one"
                )
            if same.scores != table.scores:
                raise ConfigError(
                    f"{text}: {same.results.path} and {folder} hold other scores of the same"
                    f" protocol {results.ids[name]}; give one of the two folders"
                )
    return found


def _folder(table: ScoreTable) -> Path:
    return table.results.path.resolve()


def _results_folders(text: str, root: Path) -> list[Path]:
    """Return the results folders that `text` names: ROOT/SYSTEM/DATA/METRICS or one of these."""
    places = [place for place in (Path(text), root / text) if text and place.is_dir()]
    for place in places:
        for depth in ("", "*/", "*/*/"):
            found = sorted(path.parent for path in place.glob(f"{depth}{SUMMARY}"))
            if found:
                return found
        if is_museval_folder(place) or (place / TEST_TRACKS).exists():
            return [place]
    if places:
        raise ConfigError(
            f"{places[0]}: holds no finished evaluation ({SUMMARY}); test_pretrained makes one"
        )
    known = [path.name for path in root.glob("*/") if path.is_dir()]
    raise ConfigError(
        f"{text or '(nothing)'}: is neither a results folder nor a system below {root}."
        f"{nearest_name_hint(text, known)}"
    )


def _defined(results: StoredResults, measure: str) -> dict[str, dict[str, float]]:
    return {
        track: {
            source: value
            for source, value in scores.get(measure, {}).items()
            if not math.isnan(value)
        }
        for track, scores in results.tracks.items()
    }
