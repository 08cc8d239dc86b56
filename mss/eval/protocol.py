"""What was measured on what, and what was measured: the words of every file of results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import mss
from mss.core import registry
from mss.core.targets import TargetMap
from mss.core.types import InferenceDefaults
from mss.metrics.base import Measure


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
        name: of the released model or bag, of a folder of stems, or of an oracle.
        label: what kind of system, where that has to stand beside every score: an oracle.
        members: full names of the models of a bag.
        weights: [members][sources], each member's share of each source; None: all alike.
        content: hash of the estimates, where they are files.
        inference: segment, overlap, window and normalisation; None: nothing is separated in chunks.
        batch_size: chunks that were separated together.
        shifts: random shifts that were averaged; nothing is random without.
        seed: of the shifts.
        precision: in which the network ran.
        device: "cpu", "cuda" or "mps".
    """

    name: str
    inference: InferenceDefaults | None = None
    batch_size: int = 1
    shifts: int = 0
    seed: int = 0
    precision: str = "float32"
    device: str = "cpu"
    label: str | None = None
    members: tuple[str, ...] = ()
    weights: tuple[tuple[float, ...], ...] | None = None
    content: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the system as plain values, with the version of Stemgrid that ran it."""
        inference = None if self.inference is None else registry.dump_config(self.inference)
        return {
            "name": self.name,
            "label": self.label,
            "members": list(self.members),
            "weights": None if self.weights is None else [list(row) for row in self.weights],
            "content": self.content,
            "stemgrid": mss.__version__,
            "inference": inference,
            "batch_size": self.batch_size,
            "shifts": self.shifts,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
        }
