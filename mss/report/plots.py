"""Plots of plain values; the only module that imports matplotlib, and only when it draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from mss.core.errors import ConfigError
from mss.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BETTER, _WORSE, _UNDECIDED = "#1b7837", "#b2182b", "#525252"
_ROW, _LINE, _HEAD = 0.14, 0.18, 1.1  # inches
_LABEL = 38  # characters a line: names of configurations are long, and the songs need room
_DPI = 150


@dataclass(frozen=True)
class PairedRow:
    """One system against the reference.

    Attributes:
        label: what is compared.
        differences: of each song; infinite ones are not drawn.
        mean: of the differences; None: no such number.
        interval: low and high end of the mean's interval, or None.
        better: True or False where the difference is told apart from 0, None where not.
    """

    label: str
    differences: Sequence[float]
    mean: float | None
    interval: tuple[float, float] | None
    better: bool | None


@dataclass(frozen=True)
class PairedPanel:
    """One measure: rows that share an axis.

    Attributes:
        title: name of the measure and of the reference.
        axis: what the horizontal axis shows, with its unit.
        rows: from top to bottom.
    """

    title: str
    axis: str
    rows: Sequence[PairedRow]


def plot_paired(panels: Sequence[PairedPanel], path: Path) -> None:
    """Draw each row's songs as dots, and the mean and its interval over them.

    Args:
        panels: one above the other, each with an axis of its own.
        path: of the file; its ending is the format (png, svg, pdf).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    heights = [
        _HEAD + sum(_ROW + _LINE * len(wrap(row.label, _LABEL)) for row in panel.rows)
        for panel in panels
    ]
    figure = _new_figure(8, sum(heights))
    all_axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for panel, axes in zip(panels, all_axes[:, 0], strict=True):
        _draw_panel(panel, axes)
    _save(figure, path)


def _draw_panel(panel: PairedPanel, axes: Axes) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for index, row in enumerate(panel.rows):
        colour = {True: _BETTER, False: _WORSE, None: _UNDECIDED}[row.better]
        drawn = [value for value in row.differences if abs(value) != float("inf")]
        axes.plot(drawn, [index] * len(drawn), "o", color=colour, alpha=0.25, markersize=4, mew=0)
        if row.interval is not None:
            axes.plot(row.interval, [index, index], "-", color=colour, linewidth=2.5)
        if row.mean is not None:
            axes.plot([row.mean], [index], "D", color=colour, markersize=6)
    labels = ["\n".join(wrap(row.label, _LABEL)) for row in panel.rows]
    axes.set_yticks(range(len(panel.rows)), labels, fontsize="small")
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)  # the first row on top
    axes.set_title(panel.title, loc="left", fontsize="medium")
    axes.set_xlabel(panel.axis)
    axes.grid(axis="x", linewidth=0.3)


def heat_map(
    matrix: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    title: str,
    path: Path,
) -> None:
    """Draw a matrix as colours with its numbers in them; what is not finite stays empty.

    Args:
        matrix: one sequence a row, as long as `columns`.
        rows: names, from top to bottom.
        columns: names, from left to right.
        unit: of the numbers.
        title: what is shown, in one line.
        path: of the file; its ending is the format (png, svg, pdf).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    import numpy as np

    values = np.asarray(matrix, dtype=float)
    assert values.shape == (len(rows), len(columns)), values.shape
    figure = _new_figure(2.5 + 0.9 * len(columns), 1.8 + 0.6 * len(rows))
    axes = figure.subplots()
    shown = np.ma.masked_invalid(values)
    image = axes.imshow(shown, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, fontsize="medium")
    bright = np.ma.filled(image.norm(shown), 0) > 0.5  # true in the bright half of the colours
    for row, column in np.argwhere(np.isfinite(values)):
        axes.text(
            column,
            row,
            f"{values[row, column]:.1f}",
            ha="center",
            va="center",
            color="black" if bright[row, column] else "white",
        )
    figure.colorbar(image, ax=axes, label=unit)
    _save(figure, path)


def _new_figure(width: float, height: float) -> Figure:
    """Return a figure of inches that needs no display and leaves no global state behind."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"plots: matplotlib can't be loaded ({error}); pip install 'stemgrid[train]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    # without its date, the same values make the same file
    metadata: dict[str, Any] = {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }.get(path.suffix, {})
    with atomic_path(path) as temporary:
        # "tight": a long title widens the picture instead of being cut off
        figure.savefig(
            temporary,
            format=path.suffix[1:],
            dpi=_DPI,
            metadata=metadata,
            bbox_inches="tight",
        )
