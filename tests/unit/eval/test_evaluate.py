"""What is given to the separator, what it is compared with, and silent stems."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core.errors import DataError
from mss.core.targets import TargetMap
from mss.eval.evaluate import FrameCount, evaluate_track, evaluate_tracks
from mss.metrics.energy import NSDR, do_nothing
from mss.metrics.museval_backend import MEASURES, Museval

STEMS = ("drums", "bass", "other", "vocals")
EACH = TargetMap.make(None, STEMS)


def giving(estimates: Tensor, heard: list[Tensor] | None = None) -> Callable[[Tensor], Tensor]:
    """Return a separator with fixed estimates that keeps what it was given."""

    def separate(mix: Tensor) -> Tensor:
        if heard is not None:
            heard.append(mix)
        return estimates

    return separate


def stack(song: Any, *names: str) -> Tensor:
    return torch.stack([song.waves[name] for name in names])


def test_references_are_mapped_stems_and_the_mixture_is_all_of_them(make_song: Any) -> None:
    song = make_song()
    targets = TargetMap.make({"voice": ["vocals"], "rhythm": ["drums", "bass"]}, STEMS)
    references = torch.stack([song.waves["vocals"], song.waves["drums"] + song.waves["bass"]])
    estimates = references + 0.01
    heard: list[Tensor] = []
    result = evaluate_track(giving(estimates, heard), song, targets, [NSDR()])
    mixture = sum(song.waves.values())
    torch.testing.assert_close(heard[0], mixture)  # "other", which no source wants, included
    assert not result.recorded_mixture
    expected = NSDR()(references, estimates, 1).tolist()
    assert list(result.scores["nsdr"]) == ["voice", "rhythm"]
    assert list(result.scores["nsdr"].values()) == pytest.approx(expected, abs=1e-9)
    baseline = NSDR()(references, do_nothing(references, heard[0]), 1).tolist()
    assert list(result.do_nothing["nsdr"].values()) == pytest.approx(baseline, abs=1e-9)


def test_a_recorded_mixture_is_what_is_separated(make_song: Any) -> None:
    song = make_song()
    song.mixture = torch.full((2, song.length), 0.25)
    heard: list[Tensor] = []
    result = evaluate_track(giving(stack(song, *STEMS), heard), song, EACH, [NSDR()])
    assert torch.equal(heard[0], song.mixture)
    assert result.recorded_mixture


def test_a_silent_stem_is_counted_apart(make_song: Any) -> None:
    song = make_song(silent=("bass",))
    song.waves["vocals"][:, :1000] = 0
    estimates = stack(song, *STEMS) + 0.02
    result = evaluate_track(giving(estimates), song, EACH, [NSDR(), Museval()])
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
    result = evaluate_track(giving(estimates), song, targets, [Museval()])
    assert result.frames["museval_sar"] == FrameCount(2, 3)
    assert all(math.isfinite(value) for value in result.scores["museval_sdr"].values())
    assert "nsdr" not in result.scores
    # the mixture has no artefacts: its SAR is no bar to beat
    assert list(result.scores) == list(MEASURES)
    assert list(result.do_nothing) == ["museval_sdr", "museval_sir"]


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_model_that_gives_no_numbers_is_not_scored(make_song: Any, fault: float) -> None:
    song = make_song("broken")
    estimates = stack(song, *STEMS)
    estimates[2, 0, 5] = fault
    with pytest.raises(DataError, match="broken: the model gave samples"):
        evaluate_track(giving(estimates), song, EACH, [NSDR()])


def test_every_song_is_told_when_it_is_done(make_song: Any) -> None:
    songs = [make_song("a", 1), make_song("b", 2)]
    told: list[str] = []
    results = evaluate_tracks(
        lambda mix: torch.stack([mix] * 4),
        songs,
        EACH,
        [NSDR()],
        on_result=lambda result: told.append(result.track),
    )
    assert told == [result.track for result in results] == ["a", "b"]
    assert results[0].scores != results[1].scores


def test_no_songs_are_an_error() -> None:
    with pytest.raises(DataError, match="0 tracks"):
        evaluate_tracks(lambda mix: mix[None], [], EACH, [NSDR()])
