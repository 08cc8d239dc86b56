"""Pseudo-labels: another model's estimates as stems, each as far as it is trusted.

`python -m tools.pseudo_label` writes a folder of songs, of which each has its stems and
`labels.json`: scores and a weight for every stem of every segment. Here they become the trust that
a training has in its items ("noisy student": Xie et al., CVPR 2020, arXiv 1911.04252).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.rng import numpy_generator
from mss.core.types import Batch, Progress, Target
from mss.data.decoded import CacheKind
from mss.data.tracks import IndexedTrack
from mss.distill.base import TargetProvider
from mss.distill.surroundings import Surroundings

LABELS = "labels.json"
FORM = 1
"""Of the file; raise it when an older program could no longer read it."""

WEIGHT, RANDOM = "weight", "random"


@dataclass(frozen=True)
class SelectConfig:
    """Keys of the choice of pseudo-labels.

    Attributes:
        by: "weight": each segment of a stem counts with the weight that its file gives it. Else a
            share of the segments counts fully and the rest not at all: those with the highest
            value of this score, or "random" ones, the control of every score.
        keep: the share, of each stem's segments.
        seed: of "random".
    """

    by: str = WEIGHT
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: int = 0


@dataclass(frozen=True)
class PseudoLabelConfig:
    """Keys of a training on pseudo-labels beside the labelled songs.

    Attributes:
        songs: what the pseudo-labelled songs are called, in signatures.
        root: the folder. No part of a signature: the content identifies the data.
        share: of the items that are pseudo-labelled; at most a half.
        select: which labels count.
        cache: none, int16 or float32: keep decoded copies in the cache folder.
    """

    songs: str | None = None
    root: str | None = None
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.5
    select: SelectConfig = field(default_factory=SelectConfig)
    cache: CacheKind = "none"


class PseudoLabels(TargetProvider):
    """Nothing to do for a batch: the trust in its stems is its targets' weight already."""

    Config = PseudoLabelConfig

    def __init__(
        self, config: PseudoLabelConfig, run: Surroundings, where: str = "distill"
    ) -> None:
        del config, run, where

    def __call__(self, batch: Batch, target: Target | None, progress: Progress) -> Target:
        assert target is not None, "the references come first"
        return target


@dataclass(frozen=True)
class Label:
    """What is known of one stem in one segment.

    Attributes:
        start: first sample.
        frames: samples.
        stem: its name.
        weight: in [0, 1].
        scores: by name; NaN where one is not defined.

    Raises:
        ValueError: the weight is none, or the segment.
    """

    start: int
    frames: int
    stem: str
    weight: float
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = f"of {self.stem!r} at sample {self.start}"
        if not 0 <= self.weight <= 1:  # NaN is not, either
            raise ValueError(f"the weight {self.weight} {place} is not in [0, 1]")
        if self.start < 0 or self.frames < 1:
            raise ValueError(f"a segment {place} has {self.frames} samples")


def write_labels(labels: Sequence[Label], facts: Mapping[str, Any]) -> str:
    """Return the text of a song's labels file."""

    def row(label: Label) -> dict[str, Any]:
        scores = {k: None if math.isnan(v) else v for k, v in label.scores.items()}
        return {
            "start": label.start,
            "frames": label.frames,
            "stem": label.stem,
            "weight": label.weight,
            "scores": scores,
        }

    return json.dumps({"form": FORM, **facts, "labels": [row(label) for label in labels]}, indent=1)


def read_labels(path: Path) -> list[Label]:
    """Return the labels of a song.

    Raises:
        DataError: the file is not there, or not of this form.
    """
    with _reading(path):
        return [
            Label(
                int(row["start"]),
                int(row["frames"]),
                str(row["stem"]),
                float(row["weight"]),
                {k: math.nan if v is None else float(v) for k, v in row["scores"].items()},
            )
            for row in _content(path)["labels"]
        ]


def read_facts(path: Path) -> dict[str, Any]:
    """Return what `write_labels` was told of a song beside its labels.

    Raises:
        DataError: as `read_labels`.
    """
    with _reading(path):
        return {k: v for k, v in _content(path).items() if k not in ("form", "labels")}


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content["form"] != FORM:
        raise DataError(
            f"{path}: is of form {content['form']}, this program reads {FORM}; make the labels "
            "again: python -m tools.pseudo_label"
        )
    return content


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what is wrong with a file of labels, whichever way that shows."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: not there; this song was not labelled to its end: run python -m "
            "tools.pseudo_label again, it goes on"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: can't be read ({type(error).__name__}: {error}); remove the song's folder "
            "and run python -m tools.pseudo_label again"
        ) from error


class LabelTrust:
    """How far the stems of pseudo-labelled songs are trusted; a `mss.data.segments.Trust`.

    Args:
        labels: of each song.
        select: which of them count.
        where: the config key, for messages.

    Raises:
        ConfigError: the labels of a song have no score of that name.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[Label]],
        select: SelectConfig,
        where: str = "distill.select",
    ) -> None:
        weights = self._weights(labels, select, where)
        self._spans: dict[str, dict[str, list[tuple[int, int, float]]]] = {}
        for song, rows in labels.items():
            spans = self._spans.setdefault(song, {})
            for index, label in enumerate(rows):
                entry = (label.start, label.start + label.frames, weights[song, index])
                spans.setdefault(label.stem, []).append(entry)

    def __call__(self, track: IndexedTrack, start: int, frames: int) -> Tensor:
        """Return the mean weight of each stem [K] over the samples of an excerpt.

        Samples of which no label speaks weigh 0.
        """
        spans = self._spans[track.name]
        means = []
        for stem in track.stems:
            covered = sum(
                weight * max(0, min(last, start + frames) - max(first, start))
                for first, last, weight in spans.get(stem, ())
            )
            means.append(covered / frames)
        return torch.tensor(means, dtype=torch.float32).clamp(0, 1)

    @staticmethod
    def _weights(
        labels: Mapping[str, Sequence[Label]], select: SelectConfig, where: str
    ) -> dict[tuple[str, int], float]:
        rows = {(song, i): row for song in sorted(labels) for i, row in enumerate(labels[song])}
        if select.by == WEIGHT:
            return {key: row.weight for key, row in rows.items()}
        known = sorted({name for row in rows.values() for name in row.scores})
        if select.by != RANDOM and select.by not in known:
            hint = nearest_name_hint(select.by, [WEIGHT, RANDOM, *known])
            raise ConfigError(f"{where}.by: the labels have no score {select.by!r}.{hint}")
        if select.by != RANDOM:
            _check_complete(labels, select.by, where)
        chosen: dict[tuple[str, int], float] = dict.fromkeys(rows, 0.0)
        for stem in sorted({row.stem for row in rows.values()}):
            keys = [key for key, row in rows.items() if row.stem == stem]
            if select.by == RANDOM:
                draws = numpy_generator(select.seed, "pseudo_label", stem).random(len(keys))
                values = [float(value) for value in draws]
            else:
                values = [rows[key].scores.get(select.by, math.nan) for key in keys]
            ranked = sorted(zip(values, keys, strict=True), key=_highest_first)
            for _, key in ranked[: round(select.keep * len(keys))]:
                chosen[key] = 1.0
        return chosen


def _check_complete(labels: Mapping[str, Sequence[Label]], score: str, where: str) -> None:
    """Refuse songs that were not scored like the rest: none of their segments could be chosen."""
    for song in sorted(labels):
        if not any(score in row.scores for row in labels[song]):
            raise ConfigError(
                f"{where}.by: the song {song!r} has no score {score!r}, which others have; label "
                "the folder again with the same options for all songs: python -m "
                "tools.pseudo_label"
            )


def _highest_first(entry: tuple[float, tuple[str, int]]) -> tuple[float, tuple[str, int]]:
    value, key = entry
    return (math.inf if math.isnan(value) else -value), key
