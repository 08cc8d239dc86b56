"""From margins to verdicts, to a manifest, and to scores against the truth."""

import itertools

import numpy as np
import pytest

from mss.core.errors import ConfigError, DataError
from mss.data.noise_truth import NoiseTruth, Planted
from mss.distill.filter_scores import Detection, score_filter
from mss.distill.filtering import SongEnergies
from mss.distill.stem_energies import StemEnergies
from mss.distill.verdict import Criterion, Verdicts, judge_songs

STEMS = ("bass", "vocals")
SILENCE = -80.0


def energies(stem: str, swap: float, bleed: float = 30.0, level: float = -20.0) -> StemEnergies:
    """Energies of these margins in dB; what else is found is of the other stem."""
    other = STEMS[1 - STEMS.index(stem)]
    outputs = {stem: 1.0, other: 10 ** (-swap / 10)}
    return StemEnergies(level, 1.0, outputs, 10 ** (-bleed / 10))


def songs(*margins: tuple[float, float]) -> dict[str, SongEnergies]:
    """Songs "a", "b", ... of swap margins (bass, vocals)."""
    return {
        name: SongEnergies("judge", dict(zip(STEMS, map(energies, STEMS, pair), strict=True)))
        for name, pair in zip("abcdefgh", margins, strict=False)
    }


def clean(verdicts: Verdicts) -> str:
    return "".join(song for song in verdicts.stems if verdicts.is_clean(song))


def test_the_published_margins() -> None:
    found = songs((25.0, 25.0), (19.9, 40.0), (20.1, 20.1), (30.0, -5.0))
    verdicts = judge_songs(found, Criterion(), SILENCE)
    assert clean(verdicts) == "ac"
    assert verdicts.thresholds == {"bass": 20.0, "vocals": 20.0}
    of_bleed = {
        "x": SongEnergies("judge", {"bass": energies("bass", 0, bleed=9.9)}),
        "y": SongEnergies("judge", {"bass": energies("bass", 0, bleed=10.1)}),
    }
    assert clean(judge_songs(of_bleed, Criterion("bleed"), SILENCE)) == "y"


def test_a_margin_of_ones_own_is_exceeded_strictly() -> None:
    found = songs((6.0, 6.0), (5.0, 6.0))
    exact = found["b"].stems["bass"].swap_margin("bass")
    assert clean(judge_songs(found, Criterion(margin_db=exact), SILENCE)) == "a"


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.75, 1.0])
def test_a_share_of_the_songs_is_kept(keep: float) -> None:
    """Those whose worst stem is best, where a name's usual margin counts 0."""
    bass, vocals = (3.0, 9.0, 5.0, 1.0), (-20.0, -22.0, -19.0, -21.0)
    found = songs(*zip(bass, vocals, strict=True))
    verdicts = judge_songs(found, Criterion(keep=keep), SILENCE)
    # medians 4 and -20.5, so the worst are -1, -1.5, 1 and -3
    order = "cabd"
    assert clean(verdicts) == "".join(sorted(order[: max(1, round(4 * keep))]))


def test_of_equal_songs_all_are_kept() -> None:
    assert clean(judge_songs(songs(*[(0.1, 0.3)] * 4), Criterion(keep=0.5), SILENCE)) == "abcd"


def test_silent_stems_are_neither_kept_nor_thrown_out() -> None:
    found = songs((30.0, 30.0), (30.0, -3.0), (30.0, 30.0))
    found["a"].stems["bass"] = energies("bass", 0, level=-80.1)
    found["b"].stems["bass"] = energies("bass", 0, level=-95.0)
    found["c"].stems.update({stem: energies(stem, 0, level=-90.0) for stem in STEMS})
    verdicts = judge_songs(found, Criterion(), SILENCE)
    assert clean(verdicts) == "a"  # of c nothing is heard
    assert verdicts.stems["a"]["bass"].kept is None
    labels = verdicts.labels()
    assert (labels["a"].clean, labels["a"].notes) == (True, "bass: silent")
    assert (labels["b"].clean, labels["b"].notes) == (
        False,
        "bass: silent; vocals: -3.0 dB against bass",
    )
    # silent stems have no say in what is usual
    kept = judge_songs(found, Criterion(keep=0.5), SILENCE)
    assert kept.stems["b"]["vocals"].relative_db == pytest.approx((-3 - 30) / 2)


def test_notes_tell_what_is_wrong() -> None:
    labels = judge_songs(songs((2.04, 25.0)), Criterion(), SILENCE).labels()
    assert labels["a"].notes == "bass: +2.0 dB against vocals"
    labels = judge_songs(songs((2.0, 25.0)), Criterion("bleed", 40), SILENCE).labels()
    assert labels["a"].notes == (
        "bass: +30.0 dB against the rest of it; vocals: +30.0 dB against the rest of it"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"margin_db": 3.0, "keep": 0.5}, "--margin, --keep"),
        ({"margin_db": float("nan")}, "--margin: nan is no number of decibels"),
        ({"keep": 0.0}, "--keep: 0.0 is no share"),
        ({"keep": 1.1}, "--keep: 1.1 is no share"),
    ],
)
def test_wrong_criteria(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Criterion(**values)


# -- against the truth -----------------------------------------------------------------------


def truth(**planted: Planted | None) -> NoiseTruth:
    return NoiseTruth(STEMS, planted, {})


SWAP, BLEED = Planted("swap", ("bass", "vocals")), Planted("bleed", ("vocals", "bass"), -9.0)
MARGINS = ((25.0, 31.0), (8.0, 22.0), (30.0, 12.0), (15.0, 40.0), (26.0, 24.0))
PLANTED = truth(a=None, b=SWAP, c=BLEED, d=None, e=None)


def pairwise_auc(noisy: list[float], right: list[float]) -> float:
    """The share of pairs in the right order, by counting."""
    pairs = list(itertools.product(noisy, right))
    return sum((low < high) + 0.5 * (low == high) for low, high in pairs) / len(pairs)


def test_scores_are_those_counted_by_hand() -> None:
    verdicts = judge_songs(songs(*MARGINS), Criterion(margin_db=20), SILENCE)
    scores = score_filter(verdicts, PLANTED)
    # noisy: both of b, the vocals of c; thrown out: the bass of b and d, the vocals of c
    plain = scores["stems as they are"]
    assert (plain.judged, plain.noisy, plain.flagged, plain.found) == (10, 3, 3, 2)
    assert (plain.precision, plain.recall) == (2 / 3, 2 / 3)
    right = [25.0, 31.0, 30.0, 15.0, 40.0, 26.0, 24.0]
    assert plain.auc == pytest.approx(pairwise_auc([8.0, 22.0, 12.0], right))
    # medians 25 and 24
    relative = [0.0, 7.0, 5.0, -10.0, 16.0, 1.0, 0.0]
    assert scores["stems"].auc == pytest.approx(pairwise_auc([-17.0, -2.0, -12.0], relative))
    assert scores["bleed"].auc == pytest.approx(pairwise_auc([-12.0], relative))
    assert (scores["bleed"].noisy, scores["bleed"].judged) == (1, 8)
    assert (scores["swap"].noisy, scores["swap"].judged) == (2, 9)
    bass = scores["bass"]
    assert bass.auc == pytest.approx(pairwise_auc([8.0], [25.0, 30.0, 15.0, 26.0]))
    of_songs = scores["songs"]
    assert (of_songs.judged, of_songs.noisy, of_songs.flagged, of_songs.found) == (5, 2, 3, 2)
    worst = {"a": 0.0, "b": -17.0, "c": -12.0, "d": -10.0, "e": 0.0}
    expected = pairwise_auc([worst["b"], worst["c"]], [worst[song] for song in "ade"])
    assert of_songs.auc == pytest.approx(expected)


def test_silent_stems_have_no_say() -> None:
    found = songs(*MARGINS)
    found["b"].stems["vocals"] = energies("vocals", 0, level=-100.0)
    scores = score_filter(judge_songs(found, Criterion(), SILENCE), PLANTED)
    assert (scores["stems"].judged, scores["stems"].noisy) == (9, 2)
    assert scores["songs"].noisy == 2


def test_equal_margins_tell_nothing() -> None:
    verdicts = judge_songs(songs(*[(7.0, 7.0)] * 5), Criterion(), SILENCE)
    for found in score_filter(verdicts, PLANTED).values():
        assert found.auc == 0.5


def test_ties_count_half() -> None:
    margins = np.random.default_rng(0).integers(-3, 3, (8, 2)).astype(float)
    found = songs(*margins)
    known = truth(**dict.fromkeys("abcde"), f=SWAP, g=BLEED, h=SWAP)
    told: dict[bool, list[float]] = {True: [], False: []}
    for song, stem in itertools.product("abcdefgh", STEMS):
        told[known.kind(song, stem) is not None].append(found[song].stems[stem].swap_margin(stem))
    scores = score_filter(judge_songs(found, Criterion(), SILENCE), known)
    assert scores["stems as they are"].auc == pytest.approx(pairwise_auc(told[True], told[False]))
    assert set(told[True]) & set(told[False]), "an example without ties"


def test_nothing_to_tell_apart() -> None:
    verdicts = judge_songs(songs((30.0, 30.0)), Criterion(), SILENCE)
    scores = score_filter(verdicts, truth(a=None))
    assert scores["stems"] == Detection(2, 0, 0, 0, None)
    assert (scores["stems"].precision, scores["stems"].recall) == (None, None)
    assert "swap" not in scores


def test_the_truth_of_other_songs() -> None:
    verdicts = judge_songs(songs((30.0, 30.0)), Criterion(), SILENCE)
    with pytest.raises(DataError, match="--truth: is of other songs than were judged: see 'b'"):
        score_filter(verdicts, truth(a=None, b=None))
