"""Comparisons of made-up results against arithmetic by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scored_songs import GAIN, LOSS, songs, write_scores

from mss.core.errors import ConfigError, DataError
from mss.eval.candidates import read_candidate
from mss.eval.comparison import ALL, compare

NAN = math.nan
ONE = {
    "a": {"drums": 4.0, "bass": 2.0},
    "b": {"drums": 1.0, "bass": NAN},
    "c": {"drums": 0.0, "bass": -1.0},
    "d": {"drums": NAN, "bass": NAN},
}
TWO = {
    "a": {"drums": 5.0, "bass": 5.0},  # +1 and +3: +2
    "b": {"drums": 2.0, "bass": 9.0},  # drums alone are known of both: +1
    "c": {"drums": NAN, "bass": 2.0},  # bass alone: +3
    "d": {"drums": 1.0, "bass": 1.0},
}


@pytest.fixture
def read(tmp_path):
    """Write scores and read them again."""

    def make(name, scores, **facts):
        write_scores(tmp_path, name, scores, **facts)
        return read_candidate(name, tmp_path)

    return make


def rows_of(comparison, measure=0):
    return {(row.system, row.source): row for row in comparison.measures[measure].rows}


def test_songs_are_paired_where_both_are_defined(read):
    comparison = compare(read("one", ONE), [read("two", TWO)])
    assert (comparison.reference, comparison.left_out) == ("one", ())
    rows = rows_of(comparison)
    assert list(rows) == [("two", "drums"), ("two", "bass"), ("two", ALL)]
    assert rows["two", "drums"].statistics.differences == (1.0, 1.0)
    assert rows["two", "bass"].statistics.differences == (3.0, 3.0)
    assert rows["two", ALL].statistics.differences == (2.0, 1.0, 3.0)
    assert [row.left_out for row in rows.values()] == [2, 2, 1]


def test_scores_are_those_of_the_compared_songs(read):
    rows = rows_of(compare(read("one", ONE), [read("two", TWO)]))
    drums, everything = rows["two", "drums"], rows["two", ALL]
    assert (drums.reference.score, drums.level.score) == (2.5, 3.5)
    # drums of a and b, bass of a and c: the mean of (4 + 1) / 2 and (2 - 1) / 2
    assert (everything.reference.score, everything.level.score) == (1.5, 3.5)
    assert everything.level.deviation is None


def test_aggregation_and_direction_are_the_measures(read):
    scores = {LOSS: songs("drums", 1.0, 2.0, 9.0)}
    better = {LOSS: songs("drums", 0.0, 1.0, 10.0)}
    row = rows_of(compare(read("one", scores), [read("two", better)]))["two", "drums"]
    assert (row.reference.score, row.level.score) == (2.0, 1.0)  # medians
    assert (row.statistics.won, row.statistics.lost) == (2, 1)


def test_a_song_that_one_has_not_scored_is_left_out(read):
    shorter = {song: TWO[song] for song in "ab"}
    rows = rows_of(compare(read("one", ONE), [read("two", shorter)]))
    assert (rows["two", ALL].statistics.songs, rows["two", ALL].left_out) == (2, 2)


def test_seeds_are_averaged_in_each_song_and_their_spread_is_shown(tmp_path):
    for name, scores in (("a1", (1.0, 2.0)), ("a2", (2.0, 5.0)), ("b1", (2.0, 4.0))):
        write_scores(tmp_path, name, songs("drums", *scores))
    a, b = read_candidate("a=a1,a2", tmp_path), read_candidate("b1", tmp_path)
    row = rows_of(compare(a, [b]))["b1", "drums"]
    assert row.statistics.differences == (0.5, 0.5)
    assert row.reference.seeds == (1.5, 3.5)
    assert (row.reference.score, row.level.score) == (2.5, 3.0)
    assert row.reference.deviation == pytest.approx(math.sqrt(2))  # of 1.5 and 3.5
    assert row.level.deviation is None
    assert row.seed_deviation == row.reference.deviation
    assert row.within_seed_spread  # 0.5 against 1.41

    single = rows_of(compare(b, [read_candidate("a1", tmp_path)]))["a1", "drums"]
    assert single.seed_deviation is None
    assert not single.within_seed_spread


def test_an_undefined_seed_leaves_the_song_out(tmp_path):
    write_scores(tmp_path, "a1", songs("drums", 1.0, 2.0))
    write_scores(tmp_path, "a2", songs("drums", NAN, 4.0))
    write_scores(tmp_path, "b", songs("drums", 1.0, 4.0))
    a, b = read_candidate("a=a1,a2", tmp_path), read_candidate("b", tmp_path)
    row = rows_of(compare(a, [b]))["b", "drums"]
    assert (row.statistics.differences, row.left_out) == ((1.0,), 1)


def test_infinite_scores(read):
    perfect = songs("drums", math.inf, 2.0)
    rows = rows_of(compare(read("one", songs("drums", 1.0, 1.0)), [read("two", perfect)]))
    row = rows["two", "drums"]
    assert row.level.score == math.inf
    assert row.statistics.differences == (math.inf, 1.0)

    ones, plain = (
        {song: dict.fromkeys(("drums", "bass"), x) for song in "abc"} for x in (1.0, 0.0)
    )
    opposite = {**ones, "a": {"drums": math.inf, "bass": -math.inf}}
    rows = rows_of(compare(read("three", {LOSS: plain}), [read("four", {LOSS: opposite})]))
    found = rows["four", ALL]
    assert (found.statistics.differences, found.left_out) == ((1.0, 1.0), 1)


def test_the_order_of_songs_changes_nothing(read):
    rng = np.random.default_rng(0)
    one, two = (songs("drums", *rng.normal(size=12)) for _ in range(2))
    backwards = dict(reversed(two.items()))
    reference = read("one", one)
    rows = rows_of(compare(reference, [read("two", two), read("owt", backwards)]))
    assert rows["two", ALL].statistics == rows["owt", ALL].statistics


def test_only_shared_protocols_are_compared_and_the_others_are_named(read):
    both = read("one", {GAIN: ONE, LOSS: ONE})
    comparison = compare(both, [read("two", TWO), read("three", {GAIN: TWO, LOSS: TWO})])
    assert [of.measure.name for of in comparison.measures] == ["gain", "loss"]
    assert {row.system for row in comparison.measures[1].rows} == {"three"}
    assert [text.split("@")[0] for text in comparison.left_out] == ["loss/demo/test"]
    assert comparison.left_out[0].endswith("(not of two)")


def test_one_measure_can_be_chosen(read):
    one, two = read("one", {GAIN: ONE, LOSS: ONE}), read("two", {GAIN: TWO, LOSS: TWO})
    comparison = compare(one, [two], "loss")
    assert [of.measure for of in comparison.measures] == [LOSS]
    assert comparison.left_out == ()
    with pytest.raises(ConfigError, match=r"--measure los: one has no such .* Did you mean 'loss'"):
        compare(one, [two], "los")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"fingerprint": "0" * 64}, "gain: content of the data 'ffffffff' and '00000000'"),
        ({"dataset": "other"}, "gain: data set 'demo' and 'other'"),
        ({"split": "valid"}, "gain: split 'test' and 'valid'"),
        ({"samplerate": 48000}, "gain: sample rate, channels or the sources' stems"),
    ],
)
def test_what_differs_is_named(read, facts, message):
    with pytest.raises(ConfigError, match=f"two can't be compared with one: {message}"):
        compare(read("one", ONE), [read("two", TWO, **facts)])


def test_definitions_and_sources_that_differ_are_named(read):
    one = read("one", ONE)
    other = replace(GAIN, definition="how loud it is")
    with pytest.raises(ConfigError, match="gain: definition 'how good it is' and 'how loud it is'"):
        compare(one, [read("two", {other: TWO})])
    with pytest.raises(ConfigError, match="gain: over songs 'mean' and 'median'"):
        compare(one, [read("three", {replace(GAIN, over_tracks="median"): TWO})])
    with pytest.raises(ConfigError, match="gain: sources 'drums, bass' and 'piano'"):
        compare(one, [read("four", songs("piano", 1.0))])
    with pytest.raises(ConfigError, match=r"no measure in common \(gain and loss\)"):
        compare(one, [read("five", {LOSS: TWO})])


def test_seeds_that_do_not_belong_together(tmp_path):
    write_scores(tmp_path, "one", ONE)
    write_scores(tmp_path, "two", TWO, split="valid")
    pair, one = read_candidate("pair=one,two", tmp_path), read_candidate("one", tmp_path)
    with pytest.raises(ConfigError, match="pair: its seeds can't be compared: gain: split 'test'"):
        compare(one, [pair])


def test_names_must_differ(read):
    one = read("one", ONE)
    with pytest.raises(ConfigError, match="one: two systems have this name"):
        compare(one, [one])


def test_a_measure_without_common_songs_does_not_hide_the_others(read):
    drums = {song: {"drums": 1.0, "bass": NAN} for song in "abcd"}
    nothing = {song: {"drums": NAN, "bass": 1.0} for song in "abcd"}
    one = read("one", {GAIN: ONE, LOSS: drums})
    two = read("two", {GAIN: TWO, LOSS: nothing})
    comparison = compare(one, [two])
    assert [of.measure.name for of in comparison.measures] == ["gain"]
    (left_out,) = comparison.left_out
    assert left_out.startswith("loss/demo/test@")
    assert left_out.endswith("(no song in which both two and one have a score)")
    # a third system has the measure: it stays, without the second
    three = read("three", {GAIN: TWO, LOSS: drums})
    comparison = compare(one, [two, three])
    assert {row.system for row in comparison.measures[1].rows} == {"three"}
    assert comparison.left_out == (left_out,)
    with pytest.raises(DataError, match="nothing can be compared: loss/demo/test@"):
        compare(one, [two], "loss")


def test_no_song_in_common(read):
    with pytest.raises(DataError, match=r"gain/demo/test@\w+ \(no song in which both two and one"):
        compare(read("one", {"a": {"drums": 1.0}}), [read("two", {"b": {"drums": 1.0}})])


def test_what_qualifies_the_numbers_is_told_once(read):
    def with_facts(candidate, remarks, **settings):
        def change(table):
            facts = {"inference": {"overlap": "1/4"}, "shifts": 0, **settings}
            return replace(table, results=replace(table.results, remarks=remarks, settings=facts))

        (seed,) = candidate.seeds
        return replace(candidate, seeds=({id: change(table) for id, table in seed.items()},))

    one = with_facts(read("one", {GAIN: ONE, LOSS: ONE}), {"b": ("SIR depends: by 3 dB",)})
    two = with_facts(read("two", {GAIN: TWO, LOSS: TWO}), {}, shifts=2, name="two")
    three = with_facts(read("three", {GAIN: TWO, LOSS: TWO}), {}, name="three")
    assert compare(one, [two, three]).notes == (
        "one: 1 of 4 songs: SIR depends (tracks/SONG.json tells by how much)",
        "two and one were run with other settings: shifts",
    )
