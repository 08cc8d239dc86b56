"""What stored scores do not say of themselves, as short notes below their tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mss.eval.museval_results import UNKNOWN_DATA
from mss.eval.results import StoredResults
from mss.eval.table import plural

_IDENTITY = ("name", "label", "members", "weights", "content")
"""Settings that say which system it is, not how it was run."""


def remark_notes(results: StoredResults) -> Iterator[str]:
    """Yield what evaluating remarked, each kind of remark once, with the number of songs.

    A remark opens with what it is about, up to a colon; the numbers behind are the song's own.
    """
    songs = Counter(
        kind
        for remarks in results.remarks.values()
        for kind in dict.fromkeys(remark.partition(":")[0] for remark in remarks)
    )
    for kind, count in songs.items():
        of = plural(len(results.tracks), "song")
        yield f"{count} of {of}: {kind} (tracks/SONG.json tells by how much)"


def unknown_data_note(results: Iterable[StoredResults]) -> Iterator[str]:
    """Yield, where it is so, that nothing says what data was scored."""
    if any(stored.fingerprint == UNKNOWN_DATA for stored in results):
        yield (
            "museval's files do not say what was scored: the data is taken to be the same where"
            " songs have the same names"
        )


def missing_score_notes(results: StoredResults, measure: str) -> Iterator[str]:
    """Yield in how many songs a source has a score of `measure`, where it is not in all."""
    sources_of: dict[int, list[str]] = {}
    for source in results.sources:
        scores = (of.get(measure, {}).get(source, math.nan) for of in results.tracks.values())
        defined = sum(not math.isnan(score) for score in scores)
        sources_of.setdefault(defined, []).append(source)
    for count, sources in sources_of.items():
        if count < len(results.tracks):
            yield (
                f"{measure} of {', '.join(sources)}: {count} of"
                f" {plural(len(results.tracks), 'song')}, the others have no such score"
            )


def shared_notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the notes of {system: its notes}, those of all systems once and without a name."""
    every = dict.fromkeys(note for of in notes.values() for note in of)
    common = [note for note in every if all(note in of for of in notes.values())]
    own = [f"{system}: {note}" for system, of in notes.items() for note in of if note not in common]
    return common + own


def settings_note(
    reference: str, ours: Sequence[StoredResults], other: str, theirs: Sequence[StoredResults]
) -> Iterator[str]:
    """Yield, if so, in which settings two systems (of some seeds each) were run differently.

    Settings of what is not separated here, as stems and oracles, say nothing: they are left out.
    """
    everything = [*ours, *theirs]
    if any(stored.settings.get("inference") is None for stored in everything):
        return
    flat = [dict(_flat(stored.settings)) for stored in everything]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    missing = object()
    differing = [
        key
        for key in keys
        if key.partition(".")[0] not in _IDENTITY
        and any(settings.get(key, missing) != flat[0].get(key, missing) for settings in flat)
    ]
    if differing:
        yield f"{other} and {reference} were run with other settings: {', '.join(differing)}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its key, as in inference.overlap."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
