"""Did a model train on these songs? What its release tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mss.core.errors import ConfigError
from mss.data.tracks import TrackSet
from mss.release.repo import Release

_LEARNED = ("train", "valid")
"""Splits that shape a model: weights are fitted to one, the best epoch is chosen by the other."""


def check_unseen(release: Release, sets: Sequence[TrackSet]) -> tuple[str, ...]:
    """Refuse songs that a model learned from; return what its release leaves open, a line each.

    Args:
        release: of one model, or of a bag: each member is asked.
        sets: the songs that it is to be judged on.

    Raises:
        ConfigError: a member was trained, or its best epoch was chosen, on one of the songs.
    """
    notes: dict[str, None] = {}
    for header in release.headers:
        provenance = header.provenance
        name = f"{header.prefix} in {release.name}" if len(release.headers) > 1 else release.name
        recorded = provenance.get("data")
        if not isinstance(recorded, Mapping) or not recorded:
            notes[
                f"{name}: nothing is recorded of what it was trained on; that it never saw these"
                " songs is yours to know"
            ] = None
        else:
            for split in _LEARNED:
                for tracks in sets:
                    _refuse_seen(name, split, recorded.get(split), tracks)
            notes |= dict.fromkeys(_same_names(name, recorded, sets))
        for key, text in (
            ("contamination", "{}"),
            ("continued_from", "its weights began as those of {}, whose songs count, too"),
        ):
            if known := provenance.get(key):
                notes[f"{name}: {text.format(known)}"] = None
    return tuple(notes)


def _refuse_seen(name: str, split: str, manifest: Any, tracks: TrackSet) -> None:
    """Raise the ConfigError for a split of the training that holds songs of `tracks`."""
    if not isinstance(manifest, Mapping):
        return
    both = _names(manifest) & {track.name for track in tracks.tracks}
    same = manifest.get("fingerprint") == tracks.fingerprint
    if not same and not (both and manifest.get("name") == tracks.name):
        return
    songs = f"such as {min(both)!r}" if both else "all of them"
    how = "was trained on" if split == "train" else "has its best epoch chosen by"
    raise ConfigError(
        f"test.split={tracks.split}: {name} {how} songs of {tracks.name} ({split}), {songs}; its"
        " scores there say nothing of others. Give a split or songs that it never saw"
    )


def _same_names(name: str, recorded: Mapping[str, Any], sets: Sequence[TrackSet]) -> Iterable[str]:
    """Yield, if so, that a data set of another name has songs of the same names."""
    for split in _LEARNED:
        manifest = recorded.get(split)
        if not isinstance(manifest, Mapping):
            continue
        for tracks in sets:
            both = sorted(_names(manifest) & {track.name for track in tracks.tracks})
            if both and manifest.get("name") != tracks.name:
                yield (
                    f"{name}: was trained on {manifest.get('name')} ({split}), where songs have the"
                    f" same names as here, such as {both[0]!r}; make sure that they are others"
                )


def _names(manifest: Mapping[str, Any]) -> set[str]:
    """Return the names of a split's songs."""
    return set(map(str, manifest.get("tracks") or ()))
