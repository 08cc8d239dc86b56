"""Thresholds of a stated precision, by construction and against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mss.core.errors import ConfigError
from mss.distill.presence_thresholds import (
    Criterion,
    check_criterion,
    find_threshold,
    score_silence,
)


def lower_end(right, called, confidence=0.95):
    """The one-sided end, which is that of the two-sided interval with twice the risk."""
    interval = stats.binomtest(right, called).proportion_ci(2 * confidence - 1, method="exact")
    return interval.low


def row(*kinds):
    """Levels -60, -59.95, ... with runs of silent (True) and other excerpts."""
    silent = np.concatenate([np.full(count, kind) for count, kind in kinds])
    return -60 + 0.05 * np.arange(len(silent)), silent


def test_the_threshold_finds_as_much_as_the_precision_allows():
    told, silent = row((90, True), (3, False), (60, True), (4, False), (20, True), (100, False))
    found = find_threshold(told, silent, Criterion())
    sure = [
        level
        for called, level in enumerate(told, 1)
        if silent[called - 1] and lower_end(int(silent[:called].sum()), called) >= 0.95
    ]
    assert sure[0] == told[58] and sure[-1] == told[152]
    assert found.level == sure[-1]
    assert found.lower == pytest.approx(lower_end(150, 153))
    assert (found.score.silent, found.score.called, found.score.right) == (170, 153, 150)
    assert found.score.precision == 150 / 153
    assert found.score.recall == 150 / 170


def test_it_is_not_above_the_last_silent_excerpt():
    """Up to the next other one nothing more is found, and one call would be wrong."""
    told, silent = row((200, True), (200, False))
    found = find_threshold(told, silent, Criterion())
    assert found.level == told[199]
    assert (found.score.precision, found.score.recall) == (1, 1)


def test_it_is_not_above_what_counts_as_silent():
    told, silent = row((300, True), (200, False))
    found = find_threshold(told, silent, Criterion(silence_db=-50))
    assert found.level == told[told <= -50].max() < told[299]


def test_the_precision_is_kept_on_other_excerpts():
    """By construction: levels of silent and other excerpts overlap, and other draws confirm it."""
    generator = np.random.default_rng(0)

    def draw(count):
        silent = generator.random(count) < 0.3
        return np.where(silent, -60, -40) + 5 * generator.standard_normal(count), silent

    below = 0
    for _ in range(50):
        found = find_threshold(*draw(1000), Criterion())
        assert found.level is not None
        score = score_silence(*draw(20000), found.level)
        assert score.recall > 0.5
        below += score.precision < 0.95
    assert below <= 8  # the best of many thresholds, so not quite 5 %


@pytest.mark.parametrize(("positives", "found"), [(58, False), (59, True)])
def test_too_few_silent_excerpts_give_no_threshold(positives, found):
    told, silent = row((positives, True), (400, False))
    threshold = find_threshold(told, silent, Criterion())
    assert (threshold.level is not None) is found
    assert Criterion().fewest_calls == 59
    assert threshold.score.silent == positives


@pytest.mark.parametrize(
    ("precision", "confidence"), [(0.95, 0.95), (0.9, 0.5), (0.99, 0.9), (0.5, 0.5)]
)
def test_the_fewest_calls_are_those_that_are_enough_without_a_mistake(precision, confidence):
    criterion = Criterion(precision=precision, confidence=confidence)
    fewest = criterion.fewest_calls
    assert lower_end(fewest, fewest, confidence) >= precision - 1e-9
    assert fewest == 1 or lower_end(fewest - 1, fewest - 1, confidence) < precision


def test_a_stem_that_is_never_silent_gets_no_threshold():
    threshold = find_threshold(*row((300, False)), Criterion())
    assert threshold.level is None and threshold.lower is None
    score = threshold.score
    assert (score.silent, score.called, score.precision, score.recall, score.auc) == (
        0,
        0,
        None,
        None,
        None,
    )


def test_levels_that_tell_nothing_give_no_threshold():
    generator = np.random.default_rng(1)
    told, silent = generator.random(1000) - 60, generator.random(1000) < 0.5
    assert find_threshold(told, silent, Criterion()).level is None


def test_equal_levels_are_called_together():
    """100 silent ones at one level with 50 others: no order among them makes it sure."""
    told = np.full(150, -50.0)
    silent = np.arange(150) < 100
    assert find_threshold(told, silent, Criterion()).level is None
    assert find_threshold(told[:100], silent[:100], Criterion()).level == -50


def test_the_auc_is_that_of_scikit_learn():
    generator = np.random.default_rng(2)
    silent = generator.random(400) < 0.3
    told = np.round(np.where(silent, -1, 0) + generator.standard_normal(400), 1)  # with ties
    score = score_silence(told, silent, -0.5)
    assert score.auc == pytest.approx(roc_auc_score(silent, -told))
    assert score.called == (told <= -0.5).sum()


def test_silence_below_what_the_net_tells_is_refused():
    check_criterion(Criterion(silence_db=-59), -60)
    with pytest.raises(ConfigError, match="silence: -60 dB is not above -60 dB"):
        check_criterion(Criterion(silence_db=-60), -60)
