"""What is given to the separator, what it is compared with, and silent stems."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.eval.estimators import read_song
from mss.eval.evaluate import FrameCount, TrackResult, score_song
from mss.metrics.base import FrameScores, FramewiseMetric, Measure, Metric
from mss.metrics.energy import NSDR, do_nothing
from mss.metrics.museval_backend import MEASURES, Museval

STEMS = ("drums", "bass", "other", "vocals")
EACH = TargetMap.make(None, STEMS)


def score(
    estimates: Tensor, song: Any, targets: TargetMap, metrics: Sequence[Metric]
) -> TrackResult:
    return score_song(read_song(song, targets), estimates, targets.sources, metrics)


def stack(song: Any, *names: str) -> Tensor:
    return torch.stack([song.waves[name] for name in names])


def test_references_are_mapped_stems_and_the_mixture_is_all_of_them(make_song: Any) -> None:
    song = make_song()
    targets = TargetMap.make({"voice": ["vocals"], "rhythm": ["drums", "bass"]}, STEMS)
    references = torch.stack([song.waves["vocals"], song.waves["drums"] + song.waves["bass"]])
    estimates = references + 0.01
    result = score(estimates, song, targets, [NSDR()])
    mixture = sum(song.waves.values())
    heard = read_song(song, targets).mixture
    torch.testing.assert_close(heard, mixture)  # "other", which no source wants, included
    assert not result.recorded_mixture
    expected = NSDR()(references, estimates, 1).tolist()
    assert list(result.scores["nsdr"]) == ["voice", "rhythm"]
    assert list(result.scores["nsdr"].values()) == pytest.approx(expected, abs=1e-9)
    baseline = NSDR()(references, do_nothing(references, heard), 1).tolist()
    assert list(result.do_nothing["nsdr"].values()) == pytest.approx(baseline, abs=1e-9)


def test_a_recorded_mixture_is_what_is_separated(make_song: Any) -> None:
    song = make_song()
    song.mixture = torch.full((2, song.length), 0.25)
    assert torch.equal(read_song(song, EACH).mixture, song.mixture)
    assert score(stack(song, *STEMS), song, EACH, [NSDR()]).recorded_mixture


def test_a_silent_stem_is_counted_apart(make_song: Any) -> None:
    song = make_song(silent=("bass",))
    song.waves["vocals"][:, :1000] = 0
    estimates = stack(song, *STEMS) + 0.02
    result = score(estimates, song, EACH, [NSDR(), Museval()])
    scores = result.scores["nsdr"]
    assert math.isnan(scores["bass"])
    assert all(math.isfinite(scores[stem]) for stem in ("drums", "other", "vocals"))
    assert result.silence["bass"].whole
    assert result.silence["bass"].frames == 3
    assert not result.silence["vocals"].whole
    assert result.silence["vocals"].frames == 1
    mixture_power = sum(song.waves.values()).double().square().mean().item()
    expected = 10 * math.log10(0.02**2 / mixture_power)
    for stem in ("bass", "vocals"):
        assert result.silence[stem].leakage == pytest.approx(expected, abs=1e-4)
    assert math.isnan(result.silence["drums"].leakage)
    # museval has no frame left for any source
    assert result.frames == dict.fromkeys(MEASURES, FrameCount(0, 3))
    assert all(math.isnan(value) for value in result.scores["museval_sdr"].values())


def test_the_frames_that_a_score_rests_on(make_song: Any) -> None:
    song = make_song()
    song.waves["vocals"][:, :1000] = 0
    # two of the stems: the time of BSS-eval grows with the cube of their number
    targets = TargetMap.make({"drums": ["drums"], "vocals": ["vocals"]}, STEMS)
    estimates = stack(song, "drums", "vocals") + 0.02
    result = score(estimates, song, targets, [Museval()])
    assert result.frames["museval_sar"] == FrameCount(2, 3)
    assert all(math.isfinite(value) for value in result.scores["museval_sdr"].values())
    assert "nsdr" not in result.scores
    # the mixture has no artefacts: its SAR is no bar to beat
    assert list(result.scores) == list(MEASURES)
    assert list(result.do_nothing) == ["museval_sdr", "museval_sir"]


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_estimates_that_are_no_numbers_is_not_scored(make_song: Any, fault: float) -> None:
    song = make_song("broken")
    estimates = stack(song, *STEMS)
    estimates[2, 0, 5] = fault
    with pytest.raises(DataError, match="broken: the estimates hold samples"):
        score(estimates, song, EACH, [NSDR()])


class Loudness(FramewiseMetric):
    """A framewise metric that doubts itself, of which the mixture is no bar to beat."""

    window = hop = Fraction(1)

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (Measure("loudness", "dB", True, "of the estimate", "-", has_baseline=False),)

    def frames(self, reference: Tensor, estimate: Tensor, samplerate: int) -> FrameScores:
        frames = estimate.unflatten(-1, (-1, samplerate)).square().mean((1, 3)).double()
        return FrameScores({"loudness": frames}, ("not to be trusted",))

    def baseline(self, *args: object) -> dict[str, Tensor]:
        raise AssertionError("nobody wants it")


class MixtureLevel(NSDR):
    """A metric that looks at the mixture."""

    needs_mixture = True

    def score_with_mixture(
        self, reference: Tensor, estimate: Tensor, mixture: Tensor, samplerate: int
    ) -> dict[str, Tensor]:
        return {"nsdr": mixture.abs().max().double().expand(len(reference))}


def test_frames_and_remarks_are_kept(make_song: Any) -> None:
    song = make_song()
    estimates = stack(song, *STEMS)
    result = score(estimates, song, EACH, [Loudness()])
    assert result.remarks == ("not to be trusted",)
    assert [len(frames) for frames in result.framewise["loudness"].values()] == [3] * 4
    expected = estimates[1, :, 2000:].square().mean().item()
    assert result.framewise["loudness"]["bass"][2] == pytest.approx(expected)
    assert result.do_nothing == {}


def test_a_metric_is_shown_the_mixture(make_song: Any) -> None:
    song = make_song()
    result = score(stack(song, *STEMS), song, EACH, [MixtureLevel()])
    peak = sum(song.waves.values()).abs().max().item()
    assert result.scores["nsdr"] == pytest.approx(dict.fromkeys(STEMS, peak))
