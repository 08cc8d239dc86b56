"""Scores of a model over whole songs, during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mss import __version__
from mss.core import distrib, registry
from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.core.normalise import file_normalisation
from mss.core.separator import Separator
from mss.core.targets import TargetMap
from mss.core.types import Estimate, Target, Track
from mss.data.tracks import TrackSet
from mss.eval.estimators import read_mixture
from mss.eval.run_tests import TEST_TRACKS
from mss.infer.separate import model_chunk_fn, separate
from mss.infer.shifts import draw_shifts
from mss.metrics.base import Measure, Metric
from mss.solver.errors import TrainingError
from mss.solver.parts import Loss
from mss.solver.stop import Stopped, StopRequest


@dataclass(frozen=True)
class TrackScores:
    """What one song gave: the loss, and each measure of each source [S]."""

    loss: float
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class SetScores:
    """What a set of songs gave.

    Attributes:
        summary: the mean loss, each measure over all sources (``nsdr``) and for each
            (``nsdr_vocals``).
        tracks: {song: {measure: {source: value}}}, None where a value is not defined.
    """

    summary: dict[str, Any]
    tracks: dict[str, dict[str, dict[str, float | None]]]


class TrackEvaluation:
    """Separates songs as `stemgrid separate` would and scores them.

    The result holds the mean loss and, for each measure, its value for each source
    (``nsdr_vocals``: over the songs in which it is defined, a silent reference has no ratio) and
    over all sources (``nsdr``: the mean of those). Songs are separated in the model's own chunks,
    normalised as its contract says.

    The ranks of a run share the songs, and all of them have the result, which is that of one
    process alone.
    """

    def __init__(
        self,
        targets: TargetMap,
        metrics: Sequence[Metric],
        loss: Loss,
        batch_size: int = 1,
        progress: bool = False,
        stop: StopRequest | None = None,
        shifts: int = 0,
        seed: int = 0,
    ) -> None:
        self.targets = targets
        self.metrics = metrics
        self.loss = loss
        self.batch_size = batch_size
        self.progress = progress
        self.stop = stop or StopRequest()
        self.shifts = shifts
        self.seed = seed

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is measured."""
        return tuple(measure for metric in self.metrics for measure in metric.measures)

    def __call__(self, model: Separator, tracks: Sequence[Track], stage: str) -> SetScores:
        """Score `model` on `tracks`.

        Raises:
            TrainingError: there is no track.
            Stopped: a rank was asked to stop while it had songs left.
        """
        if not tracks:
            raise TrainingError(f"{stage}: there are no songs to score; check dset")
        own = range(distrib.rank(), len(tracks), distrib.world_size())
        scored = self._score_own(model, tracks, own, stage)
        # a rank that is asked to stop when it has no song left does not keep the others
        asked = self.stop.signum if len(scored) < len(own) else 0
        everything: dict[int, TrackScores] = {}
        for signum, of_rank in distrib.gather((asked, scored)):
            if signum:
                raise Stopped(signum)
            everything |= of_rank
        return self._set_scores(tracks, [everything[index] for index in range(len(tracks))])

    def _score_own(
        self, model: Separator, tracks: Sequence[Track], indices: range, stage: str
    ) -> dict[int, TrackScores]:
        """Score this rank's songs, by their index, until it is asked to stop."""
        hidden = None if self.progress and distrib.is_main() else True
        scored: dict[int, TrackScores] = {}
        for index in tqdm(indices, desc=stage, leave=False, disable=hidden):
            if self.stop.signum:
                break
            scored[index] = self._score(model, tracks[index])
        return scored

    def _set_scores(self, tracks: Sequence[Track], scored: Sequence[TrackScores]) -> SetScores:
        """Return the scores of the set from those of each song, in the order of the songs."""
        summary: dict[str, Any] = {"loss": sum(s.loss for s in scored) / len(scored)}
        of_tracks: dict[str, dict[str, dict[str, float | None]]] = {t.name: {} for t in tracks}
        for measure in self.measures:
            values = [s.scores[measure.name] for s in scored]
            summary |= self._summary(measure, torch.stack(values))
            for track, of_track in zip(tracks, values, strict=True):
                of_tracks[track.name][measure.name] = self._by_source(of_track)
        return SetScores(summary, of_tracks)

    def _by_source(self, values: Tensor) -> dict[str, float | None]:
        """Return values [S] by source, None where one is not defined (JSON knows no NaN)."""
        pairs = zip(self.targets.sources, values.tolist(), strict=True)
        return {source: None if math.isnan(value) else value for source, value in pairs}

    def _summary(self, measure: Measure, scores: Tensor) -> dict[str, float | None]:
        """Return the value of all sources and of each, from scores [tracks, S]."""
        if measure.over_tracks == "median":
            by_source = scores.nanquantile(0.5, dim=0)
        else:
            by_source = scores.nanmean(dim=0)
        # The value over all sources picks the best model: NaN there stays, for the check to see.
        values: dict[str, float | None] = {measure.name: by_source.nanmean().item()}
        for source, value in self._by_source(by_source).items():
            values[f"{measure.name}_{source}"] = value
        return values

    def _score(self, model: Separator, track: Track) -> TrackScores:
        """Return the loss and each measure of each source [S] for one song."""
        mixture = read_mixture(track)  # [C, T]
        stems = torch.stack([track.read(stem) for stem in self.targets.all_stems])
        references = self.targets.sum_stems(stems, self.targets.all_stems)  # [S, C, T]
        device = next(model.parameters()).device
        estimates = separate(
            model_chunk_fn(model),
            model.spec,
            model.inference,
            mixture,
            self.batch_size,
            device=device,
            shifts=draw_shifts(self.shifts, model.spec.samplerate, self.seed, track.name),
        )
        # the loss at the level that the model trains at
        level = file_normalisation(mixture, model.inference.normalise)
        with torch.no_grad():
            report = self.loss(
                Estimate(level.apply(estimates)[None]),
                Target(
                    level.apply(references)[None],
                    torch.ones(1, len(references)),
                    level.apply(mixture)[None],
                ),
            )
        scores: dict[str, Tensor] = {}
        for metric in self.metrics:
            scores |= metric.score_with_mixture(references, estimates, mixture, track.samplerate)
        return TrackScores(report.total.item(), scores)


class Validation:
    """Score a model on the validation songs, or on an even selection of them."""

    def __init__(self, evaluation: TrackEvaluation, songs: TrackSet, subset: int) -> None:
        if subset > len(songs):
            raise ConfigError(f"valid.subset: {subset} of {len(songs)} validation songs")
        self.evaluation = evaluation
        self.songs = songs
        self.subset = [songs.tracks[index * len(songs) // subset] for index in range(subset)]

    def __call__(self, model: Separator, full: bool) -> dict[str, Any]:
        tracks = self.songs.tracks if full else self.subset
        return self.evaluation(model, tracks, "valid").summary


class Testing:
    """Score a model on the test songs; what each song gave is kept in the run's folder."""

    def __init__(self, evaluation: TrackEvaluation, songs: TrackSet, folder: Path) -> None:
        self.evaluation = evaluation
        self.songs = songs
        self.path = folder / TEST_TRACKS

    def __call__(self, model: Separator) -> dict[str, Any]:
        scored = self.evaluation(model, self.songs.tracks, "test")
        if distrib.is_main():
            content = {
                "dset": self.songs.name,
                "split": self.songs.split,
                "fingerprint": self.songs.fingerprint,
                "sources": list(self.evaluation.targets.sources),
                "targets": list(map(list, self.evaluation.targets.stems)),
                "samplerate": self.songs.samplerate,
                "channels": self.songs.channels,
                "stemgrid": __version__,
                "measures": {m.name: asdict(m) for m in self.evaluation.measures},
                "inference": registry.dump_config(model.inference),
                "shifts": self.evaluation.shifts,
                "seed": self.evaluation.seed,
                "tracks": scored.tracks,
            }
            try:
                write_json_atomic(self.path, content)
            except OSError as error:
                raise DataError(f"{self.path}: could not be written ({error})") from error
        return scored.summary
