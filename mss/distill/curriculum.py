"""Easy songs first: which songs the first epochs of a run hear."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mss.core import distrib
from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.core.targets import TargetMap
from mss.core.types import AudioSpec, Separate
from mss.data.segments import Beginning
from mss.data.tracks import MIXTURE, IndexedTrack, TrackSet
from mss.distill.released import ReleasedTeacher
from mss.metrics.energy import NSDR, do_nothing

logger = logging.getLogger(__name__)

FORM = 1
"""Of the scores that are kept; raise it when they change."""


@dataclass(frozen=True)
class CurriculumConfig:
    """Keys of a curriculum.

    Attributes:
        epochs: that hear the easiest songs alone; 0: no curriculum.
        share: of the songs, the easiest ones.
        by: how easy a song is: "mixture": the mean nSDR of the mixture itself at its best gain for
            each source; else a released model's name: the mean nSDR of its estimates. (A run is
            locked to the songs that this chose: see TrainingItems.)
    """

    epochs: int = 0
    share: float = 0.75
    by: str = "mixture"

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"distill.curriculum.epochs: {self.epochs} is negative")
        if not 0 < self.share <= 1:
            raise ConfigError(f"distill.curriculum.share: {self.share} is not in (0, 1]")


def first_songs(
    config: Any, tracks: TrackSet, targets: TargetMap, spec: AudioSpec, device: torch.device
) -> Beginning | None:
    """Return the songs of a run's first epochs; None: it has no curriculum.

    Args:
        config: of the distillation, whose `curriculum` it is; None: there is none.
        tracks: the training songs.
        targets: from their stems to the sources.
        spec: of the model.
        device: where a model that judges the songs computes.

    Raises:
        ConfigError: that model is not there or does not fit.
    """
    curriculum: CurriculumConfig | None = getattr(config, "curriculum", None)
    if curriculum is None or not curriculum.epochs:
        return None
    if curriculum.by == MIXTURE:
        scores = song_scores(tracks, targets, MIXTURE)
    else:
        teacher = ReleasedTeacher(curriculum.by, targets, spec, device, "distill.curriculum.by")

        def separate(mix: Tensor) -> Tensor:
            return teacher(mix.to(device)[None])[0].to(mix.device)

        scores = song_scores(tracks, targets, teacher.digest, separate)
    songs = easiest(scores, curriculum.share)
    logger.info(
        "The first %d epochs hear %d of %d songs", curriculum.epochs, len(songs), len(tracks)
    )
    return Beginning(curriculum.epochs, songs)


def easiest(scores: Mapping[str, float], share: float) -> frozenset[str]:
    """Return the names with the highest scores: a share of them, at least one.

    A song without a score (every source is silent) is among the hardest.
    """
    count = max(1, math.ceil(share * len(scores)))
    ranked = sorted(scores, key=lambda name: (-_comparable(scores[name]), name))
    return frozenset(ranked[:count])


def _comparable(score: float) -> float:
    return -math.inf if math.isnan(score) else score


def song_scores(
    tracks: TrackSet, targets: TargetMap, judge: str, separate: Separate | None = None
) -> dict[str, float]:
    """Return the mean nSDR (dB) over the sources of each song, NaN where all are silent.

    The main rank reads every song once and keeps the scores in the cache folder.

    Args:
        tracks: the songs.
        targets: from their stems to the sources.
        judge: what `separate` is, exactly, for the cache.
        separate: [C, T] -> [S, C, T]; None: the mixture at its best gain.
    """
    scores: dict[str, float] = {}
    if distrib.is_main():
        key = json.dumps([FORM, tracks.fingerprint, targets.sources, targets.stems, judge])
        path = cache_root() / "curriculum" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        if path.exists():
            scores = _read(path.read_text(encoding="utf-8"), str(path))
        else:
            scores = {
                track.name: _score(track, targets, separate)
                for track in tqdm(tracks.tracks, desc="curriculum: scoring songs", leave=False)
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {name: None if math.isnan(v) else v for name, v in scores.items()}
            write_json_atomic(path, kept)
    return distrib.broadcast(scores)


def _read(text: str, path: str) -> dict[str, float]:
    try:
        values: Any = json.loads(text)
        return {str(n): math.nan if v is None else float(v) for n, v in values.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: can't be read ({error}); remove it, it is made again") from error


def _score(track: IndexedTrack, targets: TargetMap, separate: Separate | None) -> float:
    references = targets.sum_stems(track.read_stems(), track.stems)  # [S, C, T]
    mixture = track.read(MIXTURE)
    estimates = do_nothing(references, mixture) if separate is None else separate(mixture)
    return float(NSDR()(references, estimates, track.samplerate).nanmean())
