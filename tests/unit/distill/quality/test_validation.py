"""The protocol finds what was planted, and says no to what was not."""

import json

import numpy as np
import pytest

from mss.core.errors import DataError
from mss.distill.quality.comparison import compare_score
from mss.distill.quality.control import negative_control
from mss.distill.quality.ranks import spearman
from mss.distill.quality.scores import AGREEMENT, ENERGY, LEAKAGE, SCORES
from mss.distill.quality.table import SegmentTable
from mss.distill.quality.validation import BOOSTING, RIDGE, SHUFFLED, validate_scores
from mss.distill.quality.validation_report import (
    render_report,
    render_summary,
    report_values,
    segments_csv,
)

RESAMPLES = 199


@pytest.fixture(scope="module")
def planted(make_table):
    """A good score, one that only knows the song, copies of the level, and a leakage."""
    table = make_table(songs=20)
    rng = np.random.default_rng(1)
    songs = {name: table.sdr[table.tracks == name].mean() for name in np.unique(table.tracks)}
    table = table.with_score("song_only", np.array([songs[name] for name in table.tracks]))
    table = table.with_score("level_copy", table.scores[ENERGY] ** 3)
    table = table.with_score("noise", rng.standard_normal(len(table)))
    table = table.with_score("constant", np.ones(len(table)))
    # lower is better
    return table.with_score(LEAKAGE, -table.sdr + rng.standard_normal(len(table)))


@pytest.fixture(scope="module")
def found(planted):
    return validate_scores(planted, RESAMPLES, regressors=False)


def answer(found, name):
    return found.verdicts[name].answer


def test_a_planted_score_is_recognised(found):
    assert answer(found, AGREEMENT) == "yes"
    sentence = found.verdicts[AGREEMENT].sentence
    assert sentence.startswith("agreement: yes. It tells more than the level does: rho 0.")
    assert AGREEMENT in found.working and AGREEMENT in found.conclusion


def test_a_score_of_which_lower_is_better_is_turned(found):
    assert answer(found, LEAKAGE) == "yes"
    assert next(r for r in found.results if r.name == LEAKAGE).pooled.rho.value > 0.8


def test_a_copy_of_the_level_is_not(found):
    assert answer(found, "level_copy") == "no"
    result = next(result for result in found.results if result.name == "level_copy")
    assert result.pooled.rho.low > 0  # it is correlated, and that is not enough
    assert (result.pooled.gain.value, result.pooled.gain.low) == (0, 0)
    assert answer(found, ENERGY) == "baseline"


def test_a_score_that_only_tells_songs_apart_is_not(found):
    assert answer(found, "song_only") == "no"
    result = next(result for result in found.results if result.name == "song_only")
    assert result.within.rho.value == 0


def test_noise_shuffled_and_constant_scores_are_not(found):
    for name in ("noise", SHUFFLED, "constant"):
        assert answer(found, name) == "no"
    assert "the same, or not defined, everywhere" in found.verdicts["constant"].sentence
    shuffled = next(result for result in found.results if result.name == SHUFFLED)
    assert shuffled.pooled.rho.holds_zero and shuffled.within.rho.holds_zero


def test_a_level_that_misleads_is_turned_round(make_table):
    """Were the baseline's rho -0.9, a score that knows nothing would be far above it."""
    table = make_table(songs=20)
    rng = np.random.default_rng(9)
    table = table.with_score(ENERGY, -table.sdr).with_score(
        "noise", rng.standard_normal(len(table))
    )
    result = compare_score(table, "noise", RESAMPLES)
    assert result.pooled.energy == pytest.approx(1)
    assert result.pooled.rho.holds_zero and result.pooled.gain.high < 0


def test_the_numbers_are_those_of_the_rows(planted, found):
    result = next(result for result in found.results if result.name == AGREEMENT)
    once = np.ones((1, len(planted)))
    rho = spearman(planted.scores[AGREEMENT], planted.sdr, once)[0]
    level = spearman(planted.scores[ENERGY], planted.sdr, once)[0]
    assert result.pooled.rho.value == pytest.approx(rho)
    assert result.pooled.gain.value == pytest.approx(rho - level)
    assert (result.pooled.rows, result.pooled.songs, result.undefined) == (240, 20, 0)
    drums = planted.sources == "drums"
    assert result.sources["drums"].rho.value == pytest.approx(
        spearman(planted.scores[AGREEMENT][drums], planted.sdr[drums], once[:, :120])[0]
    )
    quarter = result.selections[0]
    by_source = [
        np.sort(planted.sdr[planted.sources == name])[-30:] for name in ("drums", "vocals")
    ]
    assert quarter.oracle == pytest.approx(np.mean([part.mean() for part in by_source]))
    assert quarter.random < quarter.energy < quarter.mean < quarter.oracle
    assert quarter.gain.above_zero


def test_rows_without_the_score_are_counted_and_left_out(planted):
    holed = planted.scores[AGREEMENT].copy()
    holed[:24] = np.nan
    result = compare_score(planted.with_score(AGREEMENT, holed), AGREEMENT, RESAMPLES)
    assert (result.undefined, result.pooled.rows, result.pooled.songs) == (24, 216, 18)


def test_few_songs_allow_no_claim(make_table):
    found = validate_scores(make_table(songs=5, noise=0.1), RESAMPLES, regressors=False)
    assert answer(found, AGREEMENT) == "too few songs"
    assert "5 songs, and a claim takes 6" in found.verdicts[AGREEMENT].sentence
    assert found.conclusion.startswith("5 songs allow no claim, neither for nor against")


def test_regressors_are_judged_on_other_songs(make_table):
    table = make_table(songs=20, noise=1.0)
    found = validate_scores(table, RESAMPLES)
    names = [result.name for result in found.results]
    assert names == [AGREEMENT, ENERGY, RIDGE, BOOSTING, SHUFFLED]
    assert answer(found, RIDGE) == "yes"
    assert found.calibration.error < 1.2 < found.calibration.constant
    assert found.regressor.scores == (AGREEMENT, ENERGY)


def test_the_control_tells_what_the_source_alone_gives(make_table):
    table = make_table(songs=20)
    of_source = np.where(table.sources == "vocals", 1.0, 0.0)
    control = negative_control(table, "of_source", of_source)
    assert control.passed
    assert abs(control.mean) < 0.02 and control.low < -0.05 < 0.05 < control.high
    # it is nothing but the source, so that shuffling within it changes nothing
    assert control.within_source == pytest.approx(
        spearman(of_source, table.sdr, np.ones((1, len(table))))[0]
    )
    assert control.intervals == 40 and control.held >= 34


def test_a_protocol_that_finds_something_in_nothing_claims_nothing(found, planted):
    from dataclasses import replace

    from mss.distill.quality.validation import judge

    broken = replace(found.control, held=10)
    assert not broken.passed
    result = next(result for result in found.results if result.name == AGREEMENT)
    verdict = judge(result, broken)
    assert verdict.answer == "no" and "control failed" in verdict.sentence
    assert "nothing here can be believed" in replace(found, control=broken).conclusion


def test_no_segments_are_an_error():
    with pytest.raises(DataError, match="0 labelled segments"):
        validate_scores(SegmentTable.of([]))


def test_the_report_says_it_all(found, planted):
    report = render_report(
        found, "A title", {"model": "m_1"}, ["bass is silent in 3 of 9 segments"]
    )
    assert report.startswith("# A title\n\nShown to tell more than the level")
    assert "**Note.** bass is silent in 3 of 9 segments." in report
    for name in (AGREEMENT, "level_copy", SHUFFLED):
        assert f"- {found.verdicts[name].sentence}" in report
    assert f"- agreement: {SCORES[AGREEMENT].meaning}." in report
    assert "which holds 0" in report and "bootstrap intervals" in report
    assert "| oracle |" in report and "| random |" in report
    assert "nan" not in report

    summary = render_summary(found)
    assert found.conclusion in summary
    values = report_values(found)
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text)["working"] == list(found.working)
    assert values["results"][0]["pooled"]["rho"]["value"] > 0.7
    constant = next(result for result in values["results"] if result["name"] == "constant")
    assert constant["pooled"]["rho"]["value"] is None

    lines = segments_csv(planted).splitlines()
    assert len(lines) == 241
    assert lines[0].startswith("track,source,start,true_sdr,agreement,energy")


def test_a_report_can_say_no(make_table):
    table = make_table(songs=8)
    table = table.with_score(AGREEMENT, np.random.default_rng(9).standard_normal(len(table)))
    report = render_report(validate_scores(table, RESAMPLES), "Nothing", {}, [])
    assert "No score is shown to tell the quality of an estimate better than its level" in report
    assert "That is a result" in report
