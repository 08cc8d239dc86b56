"""What a training's own test gave, in the form of an evaluation's results."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from mss.core.errors import DataError
from mss.eval.results import StoredResults
from mss.metrics.base import Measure

TEST_TRACKS = "test_tracks.json"
"""The file, in a run's folder."""


def read_run_test(folder: Path) -> StoredResults:
    """Read the test of a run.

    Two such tests are of one protocol where measure, split, sources (and the stems of each), sample
    rate, channels and the content of the songs are the same: a run's data set may have another name
    where only its training songs differ. It is never the protocol of an evaluation.

    Raises:
        DataError: the run was not tested yet, or the file can't be read.
    """
    path = folder / TEST_TRACKS
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        measures = {name: Measure(**facts) for name, facts in content["measures"].items()}
        sources = tuple(content["sources"])
        split, fingerprint = str(content["split"]), str(content["fingerprint"])
        # a run of an earlier version does not tell them: it is comparable with its like alone
        heard = [content.get(key) for key in ("targets", "samplerate", "channels")]
        return StoredResults(
            path=folder,
            system=folder.resolve().name,
            dataset=str(content["dset"]),
            split=split,
            fingerprint=fingerprint,
            sources=sources,
            measures=measures,
            ids={
                name: _protocol_id(measure, split, [fingerprint, sources, *heard])
                for name, measure in measures.items()
            },
            tracks={
                song: {
                    measure: {s: math.nan if v is None else float(v) for s, v in values.items()}
                    for measure, values in scored.items()
                }
                for song, scored in content["tracks"].items()
            },
            settings={"inference": content["inference"], "shifts": content["shifts"]},
        )
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: holds no {TEST_TRACKS}; a run is tested at its end, so go on with it"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: can't be read ({type(error).__name__}: {error})") from error


def _protocol_id(measure: Measure, split: str, references: list[Any]) -> str:
    facts = [measure.definition, measure.over_tracks, references]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return f"{measure.name}/{split}@{digest[:8]}"
