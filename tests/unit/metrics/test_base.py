"""What metrics say of themselves, and the median of frames."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from mss.core import registry
from mss.core.errors import ConfigError
from mss.metrics.base import (
    SingleMetric,
    defined_frames,
    make_metrics,
    median_of_frames,
    stated_measures,
)
from mss.metrics.energy import NSDR


@pytest.mark.usefixtures("torchaudio_stub")  # log_wmse wants its package at once
def test_every_metric_says_what_its_scores_are() -> None:
    measures = {}
    for kind in registry.names("metric", plugins=False):
        for measure in make_metrics({kind: {}})[0].measures:
            # a column has one definition, whichever metric fills it
            assert measures.setdefault(measure.name, measure) == measure
            assert measure.unit
            assert measure.definition
            assert measure.citation
    assert {"nsdr", "si_sdr", "csdr", "isr", "sir", "sar", "museval_sdr"} <= set(measures)
    assert measures["nsdr"].over_tracks == "mean"
    assert measures["csdr"].over_tracks == measures["museval_sdr"].over_tracks == "median"


def test_two_configurations_never_share_a_definition() -> None:
    plain, other = make_metrics({"si_sdr": {}})[0], make_metrics({"si_sdr": {"eps": 1e-3}})[0]
    first, second = (stated_measures(metric)[0] for metric in (plain, other))
    assert first.definition != second.definition
    assert "eps=0.001" in second.definition
    # one column, whichever metric fills it
    alone, of_all = make_metrics({"csdr": {}})[0], make_metrics({"bsseval": {}})[0]
    assert stated_measures(alone)[0] == stated_measures(of_all)[0]

    class Foreign(NSDR):
        """Of another package."""

    assert "[eps=1e-07, " in stated_measures(Foreign())[0].definition


def test_two_metrics_of_one_score_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"bsseval: test\.metrics\.csdr gives csdr as well"):
        make_metrics({"csdr": {}, "bsseval": {}})


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
