"""The table of a grid, through Dora's own monitor."""

import re
from types import SimpleNamespace

import pytest
from dora.grid import RunGridArgs, monitor

from grids._base import SeparationExplorer
from mss.eval.statistics import paired_statistics


class Main:
    """What Dora's monitor asks of a main."""

    def get_names(self, xps):
        return [xp.sig for xp in xps], ""

    def get_xp_history(self, xp):
        return xp.history


def make_sheep(folder, history, epochs=2, metric="nsdr"):
    cfg = SimpleNamespace(
        train=SimpleNamespace(epochs=epochs), valid=SimpleNamespace(metric=metric)
    )
    xp = SimpleNamespace(sig=folder.name, folder=folder, cfg=cfg, history=history)
    return SimpleNamespace(xp=xp, state=lambda: None, is_done=lambda: True, current_job_id=None)


def table(explorer, sheeps) -> list[list[str]]:
    """Return the cells of each line, header lines first."""
    printed: list[str] = []
    monitor(RunGridArgs(), Main(), explorer, sheeps, printed.append)
    return [re.split(r"[\s|]+", line.strip()) for line in printed[-1].splitlines()]


@pytest.fixture
def explorer():
    return SeparationExplorer(lambda launcher: None)


def test_a_line_shows_the_best_full_validation_and_the_test(tmp_path, explorer, make_epoch):
    history = [
        make_epoch(1, {"drums": 3.0, "bass": 1.0}, best=2.0),
        make_epoch(2, {"drums": 0.0, "bass": 1.0}, best=2.0),
    ]
    history[-1]["test"] = {"loss": 1.0, "nsdr": 1.5, "nsdr_drums": 2.5, "nsdr_bass": 0.5}
    header, line = table(explorer, [make_sheep(tmp_path / "run", history)])[-2:]
    assert " ".join(header[4:]) == (
        "sid epoch s/epoch loss loss all drums bass all drums bass nSDR 95 % won"
    )
    assert " ".join(line) == (
        "0 run N/A run 2/2 12 0.2500 0.1250 2.00 3.00 1.00 1.50 2.50 0.50 - - - -"
    )


def test_stems_are_the_union_of_all_runs(tmp_path, explorer, make_epoch):
    sheeps = [
        make_sheep(tmp_path / "a", [make_epoch(1, {"drums": 1.0, "bass": 2.0}, best=1.5)]),
        make_sheep(tmp_path / "b", [make_epoch(1, {"vocals": 3.0}, best=3.0)]),
        make_sheep(tmp_path / "c", []),
    ]
    header, *lines = table(explorer, sheeps)[-4:]
    stems = header.index("drums")
    assert header[stems : stems + 3] == ["drums", "bass", "vocals"]
    scores = [line[8:12] for line in lines]
    assert scores == [["1.50", "1.00", "2.00", "-"], ["3.00", "-", "-", "3.00"], ["-"] * 4]


def test_other_measures_of_the_test_have_columns(tmp_path, explorer):
    test = {"nsdr": 1.0, "nsdr_a": 1.0, "museval_sdr": 4.25, "museval_sdr_a": 4.25}
    header, line = table(explorer, [make_sheep(tmp_path / "run", [{"test": test}])])[-2:]
    assert "museval_sdr" in header
    assert "4.25" in line


def test_differences_to_the_first_run_song_by_song(tmp_path, explorer, write_run):
    def scores(*values):
        return {f"song {index}": {"a": value} for index, value in enumerate(values)}

    first = scores(*range(8))
    gains = (1.0, 2.0, 1.5, 1.0, 2.5, 1.5, 2.0, -0.5)
    better = scores(*(index + gain for index, gain in enumerate(gains)))
    other = scores(*(index + gain - 1 for index, gain in enumerate(gains)))
    write_run(tmp_path / "first", tracks=first)
    write_run(tmp_path / "better", tracks=better)
    write_run(tmp_path / "other", tracks=other)
    write_run(tmp_path / "elsewhere", tracks=first, fingerprint="0" * 64)
    names = ("first", "better", "other", "elsewhere", "new")
    sheeps = [make_sheep(tmp_path / name, []) for name in names]
    lines = [" ".join(line) for line in table(explorer, sheeps)[-5:]]
    found = paired_statistics(gains, [0.0] * 8, True)
    interval = f"{found.interval.low:+.2f} to {found.interval.high:+.2f}"
    assert lines[1].endswith(f"- +1.38 {interval} 7 of 8 better")
    assert " +0.38 " in lines[2]
    assert lines[2].endswith(" 5 of 8 not distinguishable")
    assert [line.endswith(" - - - -") for line in lines] == [True, False, False, True, True]


def test_passes_do_not_depend_on_each_other(tmp_path, explorer, write_run, make_epoch):
    first = make_sheep(write_run(tmp_path / "first", tracks={"one": {"a": 1.0}}), [])
    second = make_sheep(tmp_path / "second", [])
    before = table(explorer, [first, second])
    assert before == table(explorer, [first, second])
    assert before[-1][-4:] == ["-"] * 4

    write_run(tmp_path / "second", tracks={"one": {"a": 1.5}})
    second.xp.history = [make_epoch(1, {"late": 1.0}, best=1.0)]
    header, _, line = table(explorer, [first, second])[-3:]
    assert "late" in header
    assert " ".join(line).endswith(" +0.50 - 1 of 1 too few songs")

    # the first run is tested anew: the reference is read again
    write_run(tmp_path / "first", tracks={"one": {"a": 1.25}})
    second.xp.history = []
    header, _, line = table(explorer, [first, second])[-3:]
    assert "late" not in header
    assert " ".join(line).endswith(" +0.25 - 1 of 1 too few songs")


def test_a_filter_does_not_change_what_runs_are_compared_with(tmp_path, explorer, write_run):
    sheeps = [
        make_sheep(write_run(tmp_path / name, tracks={"one": {"a": score}}), [])
        for name, score in (("first", 1.0), ("second", 2.0), ("third", 4.0))
    ]
    herd = SimpleNamespace(sheeps={sheep.xp.sig: sheep for sheep in sheeps})
    explorer.collect(SimpleNamespace(_herd=herd))
    second, third = (" ".join(line) for line in table(explorer, sheeps[1:])[-2:])
    assert second.endswith(" +1.00 - 1 of 1 too few songs")
    assert third.endswith(" +3.00 - 1 of 1 too few songs")


@pytest.mark.parametrize(
    "history",
    [
        [{}],
        [{"train": {}}],
        [{"epoch": 1, "train": {"loss": None}, "valid": {"nsdr": None, "nsdr_a": None}}],
        [{"train": {"loss": float("nan")}, "valid": {"nsdr": float("inf"), "best": "x"}}],
        [{"valid": {"loss": 1.0}, "test": {"nsdr": "broken"}}],
    ],
)
def test_half_a_run_has_dashes(tmp_path, explorer, history):
    line = table(explorer, [make_sheep(tmp_path / "run", history)])[-1]
    assert line[4] == "1/2"
    assert line[-4:] == ["-"] * 4


def test_a_history_alone_makes_a_line(explorer, make_epoch):
    line = explorer.process_history([make_epoch(1, {"a": 1.0}, best=1.0)])
    assert line["run"]["epoch"] == "1"
    assert line["best"] == {"nsdr": 1.0, "nsdr_a": 1.0}
    assert explorer.get_grid_metrics()


def test_a_table_in_a_file_has_no_colours(explorer, capsys):
    assert explorer.get_colors() is None
