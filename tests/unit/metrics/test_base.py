"""What metrics say of themselves, and the median of frames."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.metrics.base import SingleMetric, defined_frames, make_metrics, median_of_frames


def test_every_metric_has_measures_of_its_own() -> None:
    metrics = make_metrics({name: {} for name in registry.names("metric", plugins=False)})
    measures = [measure for metric in metrics for measure in metric.measures]
    names = [measure.name for measure in measures]
    assert len(set(names)) == len(names)
    assert {"nsdr", "si_sdr", "museval_sdr"} <= set(names)
    for measure in measures:
        assert measure.unit == "dB"
        assert measure.higher_is_better is True
        assert measure.definition
        assert measure.citation
    over_tracks = {measure.name: measure.over_tracks for measure in measures}
    assert over_tracks["nsdr"] == "mean"
    assert over_tracks["museval_sdr"] == "median"


def test_keys_reach_the_metric_and_its_definition() -> None:
    plain, other = make_metrics({"nsdr": None, "museval": {"window": 0.5}})
    assert isinstance(plain, SingleMetric)
    assert plain.name == "nsdr"
    assert plain.higher_is_better
    assert "1e-07" in plain.measure.definition
    assert other.config.window == Fraction(1, 2)  # type: ignore[attr-defined]
    assert "frames of 1/2 s" in other.measures[0].definition


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"test\.metrics"),
        ({"nsd": {}}, r"nsd.*'nsdr'"),
        ({"nsdr": {"epsilon": 1}}, r"test\.metrics\.nsdr\.epsilon"),
        ({"nsdr": {"eps": 0}}, r"test\.metrics\.nsdr\.eps"),
        ({"museval": {"hop": 0}}, r"test\.metrics\.museval\.hop"),
    ],
)
def test_wrong_metrics(values: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_metrics(values)


def test_median_of_frames_is_numpys() -> None:
    nan, inf = math.nan, math.inf
    values = torch.tensor([[3.0, nan, 1.0, 8.0, 5.0], [inf, nan, 2.0, inf, inf]]).double()
    median = median_of_frames({"x": values})["x"]
    assert median.tolist() == np.nanmedian(values.numpy(), axis=1).tolist() == [4.0, inf]
    assert median_of_frames({"x": values[:, 1:2]})["x"].isnan().all()


def test_a_frame_is_defined_where_everything_is() -> None:
    first = torch.tensor([[1.0, math.nan, 1.0], [1.0, 1.0, 1.0]])
    second = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, math.nan]])
    assert defined_frames({"a": first, "b": second}).tolist() == [True, False, False]
