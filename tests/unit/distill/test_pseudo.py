"""Which pseudo-labels count, and how far."""

import json
import math
from types import SimpleNamespace

import pytest

from mss.core.errors import ConfigError, DataError
from mss.distill.pseudo import (
    Label,
    LabelTrust,
    SelectConfig,
    read_facts,
    read_labels,
    write_labels,
)

STEMS = ("drums", "vocals")


def track(name):
    return SimpleNamespace(name=name, stems=STEMS)


def labels_of(values, stem="vocals", frames=100):
    """A label for each value: its score `sdr`, and its weight as far as it can be one."""
    return [
        Label(i * frames, frames, stem, v if 0 <= v <= 1 else 0.0, {"sdr": v})
        for i, v in enumerate(values)
    ]


def test_an_excerpt_is_trusted_as_the_labels_it_covers():
    trust = LabelTrust({"song": labels_of([0.2, 1.0, 0.5])}, SelectConfig())
    assert trust(track("song"), 0, 100).tolist() == pytest.approx([0, 0.2])
    assert trust(track("song"), 50, 100).tolist() == pytest.approx([0, 0.6])
    assert trust(track("song"), 0, 300).tolist() == pytest.approx([0, 1.7 / 3])
    # behind the last label nothing is known
    assert trust(track("song"), 250, 100).tolist() == pytest.approx([0, 0.25])


def test_the_best_by_a_score_are_chosen_over_all_songs():
    labels = {"a": labels_of([1.0, 4.0]), "b": labels_of([3.0, math.nan, 2.0])}
    trust = LabelTrust(labels, SelectConfig(by="sdr", keep=0.4))
    weights = [trust(track("a"), 100 * i, 100)[1].item() for i in range(2)]
    weights += [trust(track("b"), 100 * i, 100)[1].item() for i in range(3)]
    assert weights == [0, 1, 1, 0, 0]


def test_each_stem_keeps_the_same_share_and_random_ones_are_as_many():
    labels = {
        "a": [*labels_of(range(10)), *labels_of([-x for x in range(10)], "drums")],
    }
    for by in ("sdr", "random"):
        trust = LabelTrust(labels, SelectConfig(by=by, keep=0.3))
        chosen = [trust(track("a"), 100 * i, 100).tolist() for i in range(10)]
        assert [sum(row[stem] for row in chosen) for stem in range(2)] == [3, 3]
    seeds = [
        tuple(
            LabelTrust(labels, SelectConfig(by="random", keep=0.3, seed=seed))(
                track("a"), 100 * i, 100
            )[1].item()
            for i in range(10)
        )
        for seed in (0, 0, 1, 2)
    ]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) > 1


def test_a_score_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"distill\.select\.by: .*'srd'.*Did you mean 'sdr'"):
        LabelTrust({"a": labels_of([1.0])}, SelectConfig(by="srd"))


def test_a_song_that_lacks_the_score_altogether_is_refused():
    labels = {
        "b": labels_of([math.nan]),
        "d": [],
        "c": [Label(0, 100, "vocals", 1.0, {"energy": 1})],
    }
    labels["a"] = labels_of([1.0, math.nan])
    with pytest.raises(ConfigError, match=r"distill\.select\.by: .*'c' has no score 'sdr'.*again"):
        LabelTrust(labels, SelectConfig(by="sdr"))
    del labels["c"], labels["d"]
    trust = LabelTrust(labels, SelectConfig(by="sdr", keep=0.3))  # not defined somewhere: fine
    assert trust(track("a"), 0, 200).tolist() == pytest.approx([0, 0.5])
    labels["c"] = [Label(0, 100, "vocals", 1.0)]
    for by in ("weight", "random"):  # which need no score
        LabelTrust(labels, SelectConfig(by=by))


def test_a_file_of_labels_is_read_back(tmp_path):
    labels = labels_of([0.5, math.nan])
    path = tmp_path / "labels.json"
    path.write_text(write_labels(labels, {"song": "a"}))
    back = read_labels(path)
    assert [label.start for label in back] == [0, 100]
    assert back[0] == labels[0]
    assert math.isnan(back[1].scores["sdr"])
    assert json.loads(path.read_text())["song"] == "a"
    assert read_facts(path) == {"song": "a"}


def one_label(**values):
    label = {"start": 0, "frames": 100, "stem": "drums", "weight": 0.5, "scores": {}}
    return json.dumps({"form": 1, "labels": [label | values]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not labelled to its end"),
        ("{", "can't be read"),
        ('{"form": 99, "labels": []}', "is of form 99"),
        ('{"form": 1, "labels": [{}]}', "can't be read .KeyError"),
        (one_label(weight=5), "the weight 5.0 of 'drums' at sample 0 is not in"),
        (one_label(weight=-1), "the weight -1.0 of"),
        (one_label(weight=math.nan), "the weight nan of"),
        (one_label(frames=0), "a segment of 'drums' at sample 0 has 0 samples"),
    ],
)
def test_a_file_that_is_no_such_is_named(tmp_path, text, message):
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_labels(path)
