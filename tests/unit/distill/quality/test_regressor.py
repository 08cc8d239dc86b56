"""Regressors: a known relation is found, files are plain numbers, songs are never seen before."""

import builtins
import importlib
import json

import numpy as np
import pytest

from mss.core.errors import ConfigError, DataError
from mss.distill.quality.regressor import (
    RidgeRegressor,
    boosting,
    cross_fitted,
    fit_ridge,
    ridge,
)
from mss.distill.quality.table import SegmentTable


def linear_table(rng, songs=30, noise=0.0):
    """SDR = 2 a - b + 5 for drums, + 8 for vocals."""
    count = songs * 10
    a, b = rng.standard_normal((2, count))
    sources = np.tile(["drums", "vocals"], count // 2)
    sdr = 2 * a - b + np.where(sources == "vocals", 8, 5) + noise * rng.standard_normal(count)
    tracks = np.repeat([f"{index:02d}" for index in range(songs)], 10)
    return SegmentTable(tracks, sources, np.zeros(count), sdr, {"a": a, "b": b})


@pytest.fixture(scope="module")
def table():
    return linear_table(np.random.default_rng(0))


def test_a_linear_relation_is_found(table):
    fitted = fit_ridge(table)
    other = linear_table(np.random.default_rng(1))
    error = fitted.predict(other.sources, other.scores) - other.sdr
    # the penalty and the cut of the outermost scores cost a little
    assert np.abs(error).mean() < 0.25
    assert fitted.offsets["vocals"] - fitted.offsets["drums"] == pytest.approx(3, abs=0.3)


def test_ridge_coefficients_are_those_of_the_normal_equations(table):
    fitted = fit_ridge(table)
    columns = np.stack([table.scores["a"], table.scores["b"]], axis=1)
    columns = np.clip(columns, fitted.lows, fitted.highs)
    features = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    dummies = np.stack([table.sources == "drums", table.sources == "vocals"], axis=1)
    features = np.concatenate([features, dummies - dummies.mean(axis=0)], axis=1)
    gram = features.T @ features + 10 * np.eye(4)
    expected = np.linalg.solve(gram, features.T @ (table.sdr - table.sdr.mean()))
    assert fitted.coefficients == pytest.approx(expected[:2].tolist())


def test_what_is_not_defined_counts_as_the_mean(table):
    fitted = fit_ridge(table)
    scores = {"a": np.array([np.nan, fitted.means[0]]), "b": np.zeros(2)}
    found = fitted.predict(["drums", "drums"], scores)
    assert found[0] == pytest.approx(found[1])


def test_a_source_that_was_not_seen_has_the_mean_offset(table):
    fitted = fit_ridge(table)
    scores = {"a": np.zeros(3), "b": np.zeros(3)}
    drums, vocals, other = fitted.predict(["drums", "vocals", "bagpipe"], scores)
    assert drums < other < vocals


def test_scores_that_tell_nothing_are_no_features(table):
    more = table.with_score("same", np.ones(len(table))).with_score(
        "never", np.full(len(table), np.nan)
    )
    assert fit_ridge(more).scores == ("a", "b")


def test_the_file_is_plain_numbers_and_read_back_exactly(table, tmp_path):
    fitted = fit_ridge(table)
    fitted.save(tmp_path / "ridge.json")
    assert RidgeRegressor.load(tmp_path / "ridge.json") == fitted
    content = json.loads((tmp_path / "ridge.json").read_text())
    assert content["scores"] == ["a", "b"] and content["schema"] == 1


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema": 2, "kind": "quality-ridge"}', '{"schema": 1, "kind": "quality-ridge"}'],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"other\.json: is no regressor"):
        RidgeRegressor.load(path)
    with pytest.raises(DataError, match="can't be read"):
        RidgeRegressor.load(tmp_path / "none.json")


def test_a_missing_score_is_named(table):
    with pytest.raises(ConfigError, match=r"not taken \(b\)"):
        fit_ridge(table).predict(["drums"], {"a": np.zeros(1)})


@pytest.mark.parametrize("fit", [ridge, boosting])
def test_no_regressor_judges_a_song_that_it_was_fitted_to(fit, table):
    seen = []

    def spy(fitted):
        predict = fit(fitted)

        def judged(held_out):
            seen.append((set(fitted.tracks), set(held_out.tracks)))
            return predict(held_out)

        return judged

    expected = cross_fitted(table, spy)
    assert np.corrcoef(expected, table.sdr)[0, 1] > 0.9
    assert len(seen) == 5
    assert not any(fitted & held_out for fitted, held_out in seen)
    assert set().union(*(held_out for _, held_out in seen)) == set(table.tracks)


def test_pure_noise_is_not_learned():
    """What is fitted to and judged by the same rows would look as if it worked."""
    rng = np.random.default_rng(0)
    table = linear_table(rng, songs=8)
    noise = SegmentTable(
        table.tracks,
        table.sources,
        table.starts,
        rng.standard_normal(len(table)),
        {str(index): rng.standard_normal(len(table)) for index in range(30)},
    )
    fitted = fit_ridge(noise).predict(noise.sources, noise.scores)
    assert np.corrcoef(fitted, noise.sdr)[0, 1] > 0.4
    assert abs(np.corrcoef(cross_fitted(noise, ridge), noise.sdr)[0, 1]) < 0.3


def test_one_song_can_not_be_judged(table):
    one = table.select(table.tracks == "00")
    with pytest.raises(ConfigError, match="2 or more"):
        cross_fitted(one, ridge)


def test_without_scikit_learn_the_remedy_is_named(table, monkeypatch):
    real = importlib.import_module

    def absent(name, *args):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match="pip install scikit-learn"):
        fit_ridge(table)


def test_expecting_needs_no_scikit_learn(table, monkeypatch):
    fitted = fit_ridge(table)
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        assert not name.startswith("sklearn")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert len(fitted.predict(table.sources, table.scores)) == len(table)
