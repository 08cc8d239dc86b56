"""Scores of a model over whole songs, during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mss.core.normalise import file_normalisation
from mss.core.separator import Separator
from mss.core.targets import TargetMap
from mss.core.types import Estimate, Target, Track
from mss.eval.evaluate import read_mixture
from mss.infer.separate import model_chunk_fn, separate
from mss.metrics.base import Measure, Metric
from mss.solver.errors import TrainingError
from mss.solver.solver import Loss


class TrackEvaluation:
    """Separates songs as `stemgrid separate` would and scores them.

    The result holds the mean loss and, for each measure, its value for each source
    (``nsdr_vocals``: over the songs in which it is defined, a silent reference has no ratio) and
    over all sources (``nsdr``: the mean of those). Songs are separated in the model's own chunks,
    normalised as its contract says.
    """

    def __init__(
        self,
        targets: TargetMap,
        metrics: Sequence[Metric],
        loss: Loss,
        batch_size: int = 1,
        progress: bool = False,
    ) -> None:
        self.targets = targets
        self.metrics = metrics
        self.loss = loss
        self.batch_size = batch_size
        self.progress = progress

    def __call__(self, model: Separator, tracks: Sequence[Track], stage: str) -> dict[str, Any]:
        """Score `model` on `tracks`.

        Raises:
            TrainingError: there is no track.
        """
        if not tracks:
            raise TrainingError(f"{stage}: there are no songs to score; check dset")
        losses: list[float] = []
        scores: dict[str, list[Tensor]] = {}
        hidden = None if self.progress else True
        for track in tqdm(tracks, desc=stage, leave=False, disable=hidden):
            loss, of_track = self._score(model, track)
            losses.append(loss)
            for name, values in of_track.items():
                scores.setdefault(name, []).append(values)
        summary: dict[str, Any] = {"loss": sum(losses) / len(losses)}
        for metric in self.metrics:
            for measure in metric.measures:
                summary |= self._summary(measure, torch.stack(scores[measure.name]))
        return summary

    def _summary(self, measure: Measure, scores: Tensor) -> dict[str, float | None]:
        """Return the value of all sources and of each, from scores [tracks, S]."""
        if measure.over_tracks == "median":
            by_source = scores.nanquantile(0.5, dim=0)
        else:
            by_source = scores.nanmean(dim=0)
        values = {measure.name: by_source.nanmean().item()}
        for source, value in zip(self.targets.sources, by_source.tolist(), strict=True):
            values[f"{measure.name}_{source}"] = value
        # null where a source is silent in every song: the history is JSON, which knows no NaN. The
        # value that picks the best model stays as it is, for the check of it to see.
        return {
            name: value if name == measure.name or not math.isnan(value) else None
            for name, value in values.items()
        }

    def _score(self, model: Separator, track: Track) -> tuple[float, dict[str, Tensor]]:
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
        )
        # the loss at the level that the model trains at
        level = file_normalisation(mixture, model.inference.normalise)
        with torch.no_grad():
            report = self.loss(
                Estimate(level.apply(estimates)[None]),
                Target(level.apply(references)[None], torch.ones(1, len(references))),
            )
        scores: dict[str, Tensor] = {}
        for metric in self.metrics:
            scores |= metric.score(references, estimates, track.samplerate)
        return report.total.item(), scores
