"""What decides the pseudo-labels of a song: they are made again where any of it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mss.core.audio_formats import OutputFormat
from mss.distill.quality.config import QualityConfig
from mss.distill.quality.regressor import RidgeRegressor

# Raise it when stems, scores or weights, or how they are made, change.
VERSION = 1

_CHANGES = {
    "recording": "another recording",
    "teacher": "another teacher",
    "scores": "other score options",
    "regressor": "another regressor",
    "references": "other references",
    "format": "another stem format",
}


@dataclass(frozen=True)
class Provenance:
    """What a song's stems and labels are made from.

    Attributes:
        recording: SHA-256 of its file.
        teacher: digest of the release (mss.distill.release_digest).
        scores: how they are taken.
        regressor: that weighs by them; None: every label weighs 1.
        references: SHA-256 of each file of true stems, by its name; None: none are asked for.
        format: of the stems.
    """

    recording: str
    teacher: str
    scores: QualityConfig
    regressor: RidgeRegressor | None
    references: Mapping[str, str] | None
    format: OutputFormat

    def facts(self) -> dict[str, Any]:
        """Return it for people to read, and to be compared with that of an earlier call."""
        regressor = None if self.regressor is None else _digest(asdict(self.regressor))
        # the order in which scores are named changes nothing
        scores = {**asdict(self.scores), "scores": sorted(set(self.scores.scores))}
        return {
            "recording": self.recording,
            "teacher": self.teacher,
            "scores": scores,
            "regressor": regressor,
            "references": None if self.references is None else dict(self.references),
            "format": f"{self.format.container} {self.format.subtype}",
        }

    @property
    def key(self) -> str:
        """A hash of all of it, and of this program's way."""
        return _digest([VERSION, self.facts()])

    def entries(self) -> dict[str, Any]:
        """Return what a file of labels keeps of it."""
        return {"key": self.key, "provenance": self.facts()}

    def changes(self, entries: Mapping[str, Any]) -> tuple[str, ...]:
        """Return why labels with these entries are not what would be made now; (): they are."""
        if entries.get("key") == self.key:
            return ()
        known = entries.get("provenance")
        if not isinstance(known, Mapping):
            return ("labels that tell too little of how they were made",)
        facts = self.facts()
        found = [what for name, what in _CHANGES.items() if known.get(name) != facts[name]]
        return tuple(found) or ("labels of another version of this program",)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
