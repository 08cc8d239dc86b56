"""Scores to an expected SDR in dB: what calibrates them.

A ridge over the scores and the name of the source is a few numbers in a JSON file. Gradient
boosting sees what is not linear, and is there for comparison alone: its trees are not kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mss.core.errors import ConfigError, DataError
from mss.core.files import write_json_atomic
from mss.distill.quality.table import Floats, Names, SegmentTable, unique_in_order

SCHEMA = 1
_KIND = "quality-ridge"
_ALPHA = 10.0
"""Weight of the penalty against a sum over segments of squared errors; features have variance 1."""
_KEPT = (1.0, 99.0)
"""Percentiles of a score beyond which it is cut: a ratio at its limit would outweigh all others."""
_FOLDS = 5


@dataclass(frozen=True)
class RidgeRegressor:
    """An expected SDR: offset[source] + sum over scores of coefficient * (clipped - mean) / scale.

    Attributes:
        scores: names of the features.
        lows: below which each is cut.
        highs: above which it is cut.
        means: of each after the cut; also stands for one that is not defined (NaN).
        scales: standard deviation of each.
        coefficients: dB per standard deviation.
        offsets: dB, by name of the source.
        offset: dB, for a source that was not seen.
    """

    scores: tuple[str, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    offsets: Mapping[str, float]
    offset: float

    def predict(self, sources: Sequence[str] | Names, scores: Mapping[str, Floats]) -> Floats:
        """Return the expected SDR [n] in dB.

        Args:
            sources: [n], name of each row's source.
            scores: {score: [n]}, those of `self.scores` at least.

        Raises:
            ConfigError: a score is missing.
        """
        if missing := [name for name in self.scores if name not in scores]:
            raise ConfigError(
                f"the regressor needs scores that were not taken ({', '.join(missing)}); take"
                f" those that it was made with: {', '.join(self.scores)}"
            )
        columns = np.stack([scores[name] for name in self.scores], axis=1)  # [n, F]
        offsets = np.array([self.offsets.get(str(name), self.offset) for name in sources])
        features = _standardise(columns, self.lows, self.highs, self.means, self.scales)
        return np.asarray(offsets + features @ np.array(self.coefficients), dtype=np.float64)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        write_json_atomic(path, {"schema": SCHEMA, "kind": _KIND, **asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RidgeRegressor:
        """Read what `save` wrote.

        Raises:
            DataError: it is missing, or no such file.
        """
        file = Path(path)
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if (content["schema"], content["kind"]) != (SCHEMA, _KIND):
                raise ValueError(f"schema {content['schema']} of {content['kind']}")
            lists = ("lows", "highs", "means", "scales", "coefficients")
            numbers = {key: tuple(float(value) for value in content[key]) for key in lists}
            names = tuple(map(str, content["scores"]))
            if any(len(values) != len(names) for values in numbers.values()):
                raise ValueError("as many numbers as scores are needed")
            offsets = {str(name): float(value) for name, value in content["offsets"].items()}
            return cls(scores=names, offsets=offsets, offset=float(content["offset"]), **numbers)
        except OSError as error:
            raise DataError(f"{file}: can't be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}: is no regressor of tools.validate_score ({error}); name its ridge.json"
            ) from error


Predictor = Callable[[SegmentTable], Floats]
Fit = Callable[[SegmentTable], Predictor]
"""Labelled segments to a function that expects the SDR [n] of others."""


def fit_ridge(table: SegmentTable) -> RidgeRegressor:
    """Fit a ridge to labelled segments; the offsets of the sources are penalised as the rest.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    linear_model = _sklearn("linear_model")
    names = _telling(table)
    sources = unique_in_order(table.sources)
    columns = _columns(table, names)
    if names:
        lows, highs = np.nanpercentile(columns, _KEPT, axis=0)
        clipped = np.clip(columns, lows, highs)
        means, scales = np.nanmean(clipped, axis=0), np.nanstd(clipped, axis=0)
        scales = np.where(scales > 0, scales, 1.0)
    else:
        lows = highs = means = scales = np.zeros(0)
    is_source = np.array(sources)[None, :] == table.sources[:, None]  # [n, S]
    features = np.concatenate(
        [_standardise(columns, lows, highs, means, scales), is_source.astype(np.float64)], axis=1
    )
    model = linear_model.Ridge(alpha=_ALPHA).fit(features, table.sdr)
    coefficients, by_source = np.split(model.coef_, [len(names)])
    intercept = float(model.intercept_)
    return RidgeRegressor(
        scores=tuple(names),
        lows=tuple(lows.tolist()),
        highs=tuple(highs.tolist()),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        coefficients=tuple(coefficients.tolist()),
        offsets=dict(zip(sources, (intercept + by_source).tolist(), strict=True)),
        offset=intercept,
    )


def ridge(table: SegmentTable) -> Predictor:
    """Fit a ridge; a `Fit`."""
    fitted = fit_ridge(table)
    return lambda other: fitted.predict(other.sources, other.scores)


def boosting(table: SegmentTable) -> Predictor:
    """Fit gradient boosting over the scores and the source; a `Fit`.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    ensemble = _sklearn("ensemble")
    names, sources = _telling(table), unique_in_order(table.sources)

    def features(of: SegmentTable) -> Floats:
        is_source = np.array(sources)[None, :] == of.sources[:, None]
        return np.concatenate([_columns(of, names), is_source.astype(np.float64)], axis=1)

    # small trees and strong shrinkage: there are hundreds of segments, not millions
    model = ensemble.HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=20, random_state=0
    ).fit(features(table), table.sdr)

    def predict(other: SegmentTable) -> Floats:
        expected: Floats = model.predict(features(other))
        return expected

    return predict


def cross_fitted(table: SegmentTable, fit: Fit) -> Floats:
    """Return the SDR [n] that is expected of each segment by a regressor that saw other songs only.

    Songs are dealt into 5 folds (fewer songs: one a fold), each judged by the fit to the others.

    Raises:
        ConfigError: scikit-learn is not installed; there is one song only.
    """
    songs = len(unique_in_order(table.tracks))
    if songs < 2:
        raise ConfigError(
            "a regressor is judged on songs that it was not fitted to; give 2 or more"
        )
    expected = np.full(len(table), np.nan)
    folds = _sklearn("model_selection").GroupKFold(n_splits=min(_FOLDS, songs))
    for fitted, held_out in folds.split(table.sdr, groups=table.tracks):
        expected[held_out] = fit(table.select(fitted))(table.select(held_out))
    return expected


def _columns(table: SegmentTable, names: Sequence[str]) -> Floats:
    """Return [n, F]."""
    if not names:
        return np.zeros((len(table), 0))
    return np.stack([table.scores[name] for name in names], axis=1)


def _standardise(
    columns: Floats, lows: ArrayLike, highs: ArrayLike, means: ArrayLike, scales: ArrayLike
) -> Floats:
    """Return features [n, F] cut, centred and scaled; 0, which is the mean, where one is NaN."""
    cut = np.clip(columns, np.asarray(lows), np.asarray(highs))
    standard = (cut - np.asarray(means)) / np.asarray(scales)
    return np.asarray(np.nan_to_num(standard, nan=0.0), dtype=np.float64)


def _telling(table: SegmentTable) -> list[str]:
    """Return the scores that are not the same, or not defined, everywhere."""
    return [
        name
        for name, values in table.scores.items()
        if np.unique(values[~np.isnan(values)]).size > 1
    ]


def _sklearn(module: str) -> Any:
    """Import a part of scikit-learn: seconds, and only where a regressor is fitted."""
    import importlib

    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ConfigError(
            "scikit-learn is not installed, which fits the regressors; `pip install scikit-learn`"
            " (it comes with stemgrid[train])"
        ) from error
