"""Plots: what is drawn, not how it looks."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from mss.core.errors import ConfigError
from mss.report import plots
from mss.report.plots import PairedPanel, PairedRow, heat_map, plot_paired

ROWS = (
    PairedRow("new, drums", (0.1, 0.5, 0.9), 0.5, (0.2, 0.8), True),
    PairedRow("new, bass", (-1.0, float("inf")), None, None, None),
)
PANELS = (PairedPanel("nsdr", "difference in dB", ROWS), PairedPanel("loss", "points", ROWS[:1]))


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved."""
    figures = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda fig, path: (figures.append(fig), save(fig, path)))
    return figures


def test_songs_means_and_intervals_are_drawn(tmp_path, drawn):
    plot_paired(PANELS, tmp_path / "new" / "paired.png")
    upper, lower = drawn[0].axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in upper.get_lines()]
    assert ([0.1, 0.5, 0.9], [0, 0, 0]) in lines
    assert ([0.2, 0.8], [0, 0]) in lines
    assert ([0.5], [0]) in lines
    assert ([-1.0], [1]) in lines  # and no infinity
    assert len(lines) == 1 + 3 + 1  # with the line at 0
    assert [label.get_text() for label in upper.get_yticklabels()] == ["new, drums", "new, bass"]
    assert upper.get_ylim() == (1.5, -0.5)  # the first row on top
    assert (lower.get_title(loc="left"), lower.get_xlabel()) == ("loss", "points")
    assert (tmp_path / "new" / "paired.png").read_bytes().startswith(b"\x89PNG")


def test_long_names_leave_room_for_the_songs(tmp_path, drawn):
    name = "distill=pskd ema.step=0.0 distill.teacher=snapshot distill.alpha=0.5, vocals"
    rows = [PairedRow(name, (0.1, 0.5), 0.3, None, None)] * 11
    plot_paired([PairedPanel(name, "points", rows)], tmp_path / "long.png")
    (axes,) = drawn[0].axes
    assert axes.get_position().width > 0.5
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert {text.replace("\n", " ") for text in texts} == {name}
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))


def test_a_heat_map_shows_numbers_and_leaves_gaps(tmp_path, drawn):
    matrix = [[0.0, -30.5], [float("nan"), -120.0]]
    heat_map(matrix, ["drums", "bass"], ["one", "two"], "dB", "what is in it", tmp_path / "a.png")
    axes, bar = drawn[0].axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "0.0", (1, 0): "-30.5", (1, 1): "-120.0"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["drums", "bass"]
    shown = axes.get_images()[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), [[False, False], [True, False]])
    assert bar.get_ylabel() == "dB"
    assert axes.get_title() == "what is in it"


def test_the_same_values_make_the_same_file(tmp_path):
    for name in ("one.png", "two.png"):
        plot_paired(PANELS, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'stemgrid\[train\]'"):
        plot_paired(PANELS, tmp_path / "paired.png")
    assert not list(tmp_path.iterdir())
