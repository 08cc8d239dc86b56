"""What a filter found, as JSON beside its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mss.distill.filter_scores import Detection
from mss.distill.filtering import SongEnergies
from mss.distill.verdict import Verdicts

SCHEMA = 1


def report_json(
    settings: Mapping[str, Any],
    songs: Mapping[str, SongEnergies],
    verdicts: Verdicts,
    scores: Mapping[str, Detection] | None = None,
) -> dict[str, Any]:
    """Return everything that is known of each stem, as plain values.

    Args:
        settings: what decided it.
        songs: what was measured; both margins are told, whichever decided.
        verdicts: what was decided.
        scores: how well, where the truth is known.
    """
    content: dict[str, Any] = {"schema": SCHEMA, "settings": dict(settings)}
    content["thresholds_db"] = dict(verdicts.thresholds)
    if scores is not None:
        content["scores"] = {name: _score_json(detection) for name, detection in scores.items()}
    content["songs"] = {
        song: {
            "clean": verdicts.is_clean(song),
            "judge": found.judge,
            "stems": {stem: _stem_json(song, stem, found, verdicts) for stem in found.stems},
        }
        for song, found in songs.items()
    }
    return content


def _score_json(detection: Detection) -> dict[str, Any]:
    return asdict(detection) | {"precision": detection.precision, "recall": detection.recall}


def _stem_json(song: str, stem: str, found: SongEnergies, verdicts: Verdicts) -> dict[str, Any]:
    energies, verdict = found.stems[stem], verdicts.stems[song][stem]
    told: dict[str, Any] = {"level_db": energies.level_db, "kept": verdict.kept}
    if verdict.kept is not None:
        told |= {
            "swap_margin_db": energies.swap_margin(stem),
            "bleed_margin_db": energies.bleed_margin(stem),
            "loudest_other": energies.loudest_other(stem),
        }
    return told
