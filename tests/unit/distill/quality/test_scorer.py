"""Scoring segment by segment: the numbers of linear separators, windows, and what is asked for."""

import math

import pytest
import torch

from mss.core.errors import ConfigError, DataError
from mss.distill.quality.config import QualityConfig
from mss.distill.quality.ratio import LIMIT_DB
from mss.distill.quality.recording import Recording
from mss.distill.quality.scorer import (
    OtherModel,
    SegmentScorer,
    named,
    score_segments,
    total,
)
from mss.distill.quality.scores import SCORES

RATE = 1000
GAINS = (0.7, 0.2)
MIX = torch.randn(2, 5200, generator=torch.Generator().manual_seed(0))
CONFIG = QualityConfig(segment=1.0, context=0.2, longest_shift=0.1)


def linear(mix):
    return torch.stack([gain * mix for gain in GAINS])


def db(ratio):
    return 10 * math.log10(ratio)


def scorer(separate=linear, config=CONFIG, **options):
    return SegmentScorer(separate, ("vocals", "other"), RATE, config, **options)


def approximately(first, second):
    return pytest.approx({"vocals": first, "other": second}, abs=1e-2)


def test_the_scores_of_a_linear_separator():
    segments = list(score_segments(scorer(), Recording.of(MIX)))
    assert [(segment.start, segment.frames) for segment in segments] == [
        (0, 1000),
        (1000, 1000),
        (2000, 1000),
        (3000, 1000),
        (4000, 1200),
    ]
    for segment in segments:
        scores = segment.scores
        assert scores["residual"] == approximately(20, 20)
        assert scores["energy"] == approximately(db(0.49), db(0.04))
        assert scores["agreement"] == approximately(LIMIT_DB, LIMIT_DB)
        assert scores["reseparation"] == approximately(db(1 / 0.09), db(1 / 0.64))
        assert scores["leakage"] == approximately(db(0.04), db(0.49))
        # both stems are the mixture: nothing could be worse
        assert scores["envelopes"] == approximately(1, 1)
        assert "model_agreement" not in scores
        expected = linear(MIX)[..., segment.start : segment.start + segment.frames]
        assert torch.equal(segment.estimates, expected)


def test_a_perfect_separator():
    """The true stems by a table: whatever is asked is looked up."""
    stems = torch.stack([MIX.abs(), -MIX.flip(1).abs()])

    def oracle(mix):
        return torch.stack([mix.clamp_min(0), mix.clamp_max(0)])

    # one plays where the other pauses, so that the oracle is right for all of their remixes
    turns = (torch.arange(5200) // 40 % 2 == 0).float()
    mix = turns * stems[0] + (1 - turns) * stems[1]
    config = QualityConfig(
        ("residual", "reseparation", "leakage"), segment=1.0, context=0.2, longest_shift=0.1
    )
    for segment in score_segments(scorer(oracle, config), Recording.of(mix)):
        assert segment.scores["residual"] == approximately(LIMIT_DB, LIMIT_DB)
        assert segment.scores["reseparation"] == approximately(LIMIT_DB, LIMIT_DB)
        assert segment.scores["leakage"] == approximately(-LIMIT_DB, -LIMIT_DB)


def test_a_separator_that_depends_on_what_should_not_matter_disagrees():
    def one_sided(mix):
        """Left goes to the first source, so that a swap changes everything."""
        left = mix.clone()
        left[1] = 0
        return torch.stack([left, mix - left])

    (segment, *_) = score_segments(scorer(one_sided), Recording.of(MIX))
    found = segment.scores["agreement"]
    # 7 estimates (as it is, 4 shifts, polarity; the swap): left 6 of 7 times, right once
    assert found["vocals"] == pytest.approx(db((36 + 1) / 49 / ((6 * 2 + 36 * 2) / 49 / 7)), abs=1)


def test_two_models_agree_where_both_know_a_source():
    other = OtherModel(lambda mix: torch.stack([mix, 0.5 * mix]), ("drums", "vocals"))
    (segment, *_) = score_segments(scorer(other=other), Recording.of(MIX))
    found = segment.scores["model_agreement"]
    # 0.7 x and 0.5 x around 0.6 x
    assert found["vocals"] == pytest.approx(db(0.36 / 0.01), abs=1e-3)
    assert math.isnan(found["other"])


def test_segments_add_up_to_the_recording():
    """Also where parts are louder than others: energies add up, decibels do not."""
    loud = MIX * torch.linspace(0.1, 3, MIX.shape[-1])

    def shaky(mix):
        return torch.stack([0.7 * mix + 0.1 * mix.flip(0), 0.2 * mix])

    parts = score_segments(scorer(shaky), Recording.of(loud))
    together = named(total([part.evidence for part in parts]), ("vocals", "other"))
    whole_config = QualityConfig(segment=None, context=0.0, longest_shift=0.0)
    (whole,) = score_segments(scorer(linear, whole_config), Recording.of(loud))
    assert together["energy"]["other"] == pytest.approx(whole.scores["energy"]["other"])
    assert together["energy"]["vocals"] != pytest.approx(whole.scores["energy"]["vocals"])
    (one_whole,) = score_segments(scorer(shaky, whole_config), Recording.of(loud))
    assert together["energy"]["vocals"] == pytest.approx(one_whole.scores["energy"]["vocals"])


def test_only_what_is_asked_for_is_separated():
    calls = []

    def counted(mix):
        calls.append(mix.shape[-1])
        return linear(mix)

    def count(*names, **options):
        calls.clear()
        config = QualityConfig(names, segment=1.0, context=0.2, longest_shift=0.1)
        (segment, *_) = score_segments(scorer(counted, config, **options), Recording.of(MIX))
        assert list(segment.scores) == [name for name in SCORES if name in names]
        return len(calls) / 5  # segments

    assert count("energy", "residual", "envelopes") == 1
    assert count("agreement") == 7
    assert count("leakage") == count("reseparation") == count("leakage", "reseparation") == 3
    assert count("remix") == 2


def test_estimates_that_are_given_are_the_ones_that_are_judged():
    given = torch.stack([MIX, torch.zeros_like(MIX)])
    segments = list(score_segments(scorer(), Recording.of(MIX), Recording.of(given)))
    for segment in segments:
        assert torch.equal(
            segment.estimates, given[..., segment.start : segment.start + segment.frames]
        )
        assert segment.scores["residual"]["vocals"] == LIMIT_DB
        assert segment.scores["energy"]["other"] == -LIMIT_DB
        # the model separates them again: 0.7 of what was given; of silence nothing is known
        assert segment.scores["reseparation"]["vocals"] == pytest.approx(db(1 / 0.09), abs=1e-3)
        assert math.isnan(segment.scores["reseparation"]["other"])


def test_a_part_of_a_recording_is_scored_with_the_rest_as_its_context():
    heard = []

    def listen(mix):
        heard.append(mix)
        return linear(mix)

    config = QualityConfig(("energy",), segment=1.0, context=0.2, longest_shift=0.1)
    found = list(score_segments(scorer(listen, config), Recording.of(MIX), span=(2000, 1000)))
    assert [(segment.start, segment.frames) for segment in found] == [(2000, 1000)]
    assert torch.equal(heard[0], MIX[:, 1800:3200])


def test_sources_that_need_not_add_up_have_no_residual():
    (segment, *_) = score_segments(scorer(adds_up=False), Recording.of(MIX))
    assert "residual" not in segment.scores


def test_scores_that_can_not_be_taken_are_told():
    config = QualityConfig(("model_agreement", "residual"))
    with pytest.raises(ConfigError, match=r"second model \(--second\).*residual needs"):
        scorer(config=config, adds_up=False)
    assert scorer(config=config).names == ("residual",)


def test_silence_has_no_scores():
    (segment, *_) = score_segments(scorer(), Recording.of(torch.zeros(2, 1000)))
    assert all(math.isnan(value) for of in segment.scores.values() for value in of.values())


def test_scores_are_the_same_every_time():
    def noisy(mix):
        return torch.stack([mix.clamp_min(0.3), mix - mix.clamp_min(0.3)])

    runs = [
        [segment.scores for segment in score_segments(scorer(noisy), Recording.of(MIX))]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    other_seed = QualityConfig(segment=1.0, context=0.2, longest_shift=0.1, seed=1)
    again = [s.scores for s in score_segments(scorer(noisy, other_seed), Recording.of(MIX))]
    assert again[0]["remix"] != runs[0][0]["remix"]


def test_estimates_that_are_no_numbers_are_refused():
    def broken(mix):
        estimates = linear(mix)
        estimates[0, 0, -300] = torch.nan if mix.sum() != 0 else 0
        return estimates

    with pytest.raises(DataError, match=r"segment at 0\.0 s"):
        list(score_segments(scorer(broken), Recording.of(MIX)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scores": ("agrement",)}, "Did you mean 'agreement'"),
        ({"scores": ()}, "none is asked for"),
        ({"segment": 0.1}, "segment: can't judge by 0.1 s; give 0.5 s or more"),
        ({"segment": float("nan")}, "segment: can't judge by nan s"),
        ({"segment": float("inf")}, "segment: can't judge by inf s"),
        ({"shifts": 3}, "at least 4"),
        ({"context": -1.0}, "context: -1 s; give 0 or more"),
        ({"context": float("nan")}, "context: nan s"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        QualityConfig(**values)
