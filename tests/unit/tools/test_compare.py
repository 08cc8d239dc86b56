"""The command, from results folders to tables and files."""

import csv
import json
import math

import numpy as np
import pytest
from scored_songs import GAIN, LOSS, songs, write_scores

from tools.compare import main

RNG = np.random.default_rng(0)
BASE = RNG.normal(6, 3, 12)
BETTER = BASE + 0.5 + RNG.permuted(np.linspace(-0.2, 0.2, 12))
SAME = BASE + RNG.permuted(np.linspace(-0.5, 0.6, 12))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for name, scores in (("base", BASE), ("better", BETTER), ("same", SAME)):
        by_measure = {GAIN: songs("drums", *scores), LOSS: songs("drums", *scores)}
        write_scores(root, name, by_measure)
    perfect, silent = BASE.copy(), BASE.copy()
    perfect[0], silent[3] = math.inf, math.nan
    for name, scores in (
        ("base2", BASE + 0.2),
        ("few", BETTER[:3]),
        ("equal", BASE),
        ("shifted", BASE + 1),
        ("perfect", perfect),
        ("silent", silent),
    ):
        write_scores(root, name, songs("drums", *scores))
    return root


@pytest.fixture
def compare(results, capsys):
    def call(*arguments):
        status = main([*arguments, "--results", str(results)])
        output = capsys.readouterr()
        assert bool(status) == bool(output.err)
        return output.out if status == 0 else output.err

    return call


def test_what_differs_and_what_does_not_is_said_in_words(compare):
    out = compare("base", "better", "same", "--measure", "gain")
    assert out.startswith("gain in dB, mean over songs, higher is better, against base (gain/demo/")
    assert "better is better than base: mean difference +0.50 dB, 95 % interval +0.4" in out
    assert "better in 12 of 12 songs (100 %)" in out
    assert "same and base are not distinguishable: mean difference +0.05 dB" in out
    assert "holds 0" in out
    assert "fewer than 20 songs" in out
    assert "one run of each" in out
    assert "loss" not in out


def test_lower_is_better_where_the_measure_says_so(compare):
    out = compare("base", "better", "--measure", "loss")
    assert "median over songs, lower is better" in out
    assert "better is worse than base: mean difference +0.5 points," in out
    assert "better in 0 of 12 songs (0 %)" in out


def test_files_hold_the_same(compare, tmp_path):
    out = compare("base", "better", "-o", str(tmp_path / "new" / "out"))
    folder = tmp_path / "new" / "out"
    assert str(folder) in out
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.csv",
        "comparison.md",
        "comparison.png",
    ]
    with open(folder / "comparison.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["measure"], row["source"]) for row in rows] == [
        ("gain", "drums"),
        ("gain", "all"),
        ("loss", "drums"),
        ("loss", "all"),
    ]
    first = rows[0]
    assert float(first["mean_difference"]) == pytest.approx((BETTER - BASE).mean(), rel=1e-12)
    assert float(first["median_difference"]) == pytest.approx(np.median(BETTER - BASE), rel=1e-12)
    assert float(first["mean_low"]) < float(first["mean_difference"]) < float(first["mean_high"])
    assert (first["won"], first["lost"], first["tied"]) == ("12", "0", "0")
    assert (first["verdict"], rows[2]["verdict"]) == ("better", "worse")
    assert (first["higher_is_better"], rows[2]["higher_is_better"]) == ("true", "false")
    markdown = (folder / "comparison.md").read_text(encoding="utf-8")
    assert markdown.count("| better | drums |") == 2
    assert "- better is better than base: mean difference" in markdown
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_seeds_of_a_configuration(compare):
    out = compare("both=base,base2", "better", "same", "--measure", "gain")
    # 0.2 / sqrt(2)
    assert f"{BASE.mean() + 0.1:.2f} ±0.14" in out
    assert "± is the standard deviation of the score over seeds (2 of both)" in out
    assert "same: differs from both by no more than that in drums, all" in out
    assert "better: differs from both" not in out
    assert "one run of each" not in out


def test_honest_words_where_there_is_little_to_say(compare):
    out = compare("base", "few", "equal", "shifted", "perfect", "silent")
    assert "few and base: 3 compared songs are too few to tell, at least 6 are needed" in out
    assert "few, drums: without 9 of 12 songs" in out
    assert "equal and base: the same score in every song" in out
    assert "shifted, drums: the same difference in every song" in out
    assert "perfect, drums: an infinite difference in 1 of 12 songs" in out
    assert "perfect and base are not distinguishable: median difference +0.00 dB" in out
    assert "silent, drums: without 1 of 12 songs" in out
    assert "not compared: loss/demo/test@" in out


def test_remarks_are_shown_and_written(compare, results, tmp_path):
    path = write_scores(results, "marked", songs("drums", *BASE)) / "tracks" / "00.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "remarks": ["SIR depends: by 2 dB"]}), encoding="utf-8")
    note = "marked: 1 of 12 songs: SIR depends (tracks/SONG.json tells by how much)"
    assert note in compare("base", "marked", "-o", str(tmp_path)).splitlines()
    assert f"- {note}\n" in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_rounding_does_not_decide(compare, results):
    write_scores(results, "batched", songs("drums", *(BASE - 4.5e-8)))
    out = compare("base", "batched")
    assert "batched and base: the same score in every song" in out
    assert "tied in 12 of 12 songs: equal, or apart by rounding alone (0.0001 at most)" in out
    assert "worse" not in out.replace("better or worse", "")


def test_mistakes_are_one_line(compare):
    assert compare("base", "bettr").startswith("compare: bettr: is neither a results folder")
    assert compare("base", "better", "--measure", "gian").count("\n") == 1
