"""Compare evaluations song by song: ``python -m tools.compare A B [...] [-o FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mss.core.errors import ConfigError, StemgridError

if TYPE_CHECKING:
    from mss.eval.candidates import Candidate
    from mss.report.tables import Table

FILE_NAME = "comparison"

_EPILOG = """\
RESULTS is a results folder, the name of a system below --results, or the folder of a run. Seeds of
one configuration are listed with commas: `base1,base2,base3 new=new1,new2,new3` compares the two
configurations, the mean of the seeds in each song, and shows how much the seeds differ. Only scores
of one protocol are compared (data, targets, measure, aggregation). The intervals are those of other
songs of the same kind.

With --grid the configurations are those of a grid, each with its finished seeds that all have, and
REFERENCE and OTHER are parts of their names ("fade=0.3", "alpha=0.3 snapshot"); without them the
first is compared with all others. --unharmed NAME asks which share of what the reference has lost
against that one the others regain.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare results folders, print the tables, return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    named = [args.reference, *args.others] if args.reference else []
    if not args.grid and len(named) < 2:
        parser.error("give a REFERENCE and an OTHER, or --grid NAME")
    if args.unharmed and not args.grid:
        parser.error("--unharmed: names a configuration of --grid")
    options = {"out": args.out, "measure": args.measure, "overall": args.overall}
    try:
        if args.grid:
            print(compare_grid(args.grid, named, args.unharmed, **options))
        else:
            print(compare_results(args.reference, args.others, args.results, **options))
    except (StemgridError, OSError) as error:  # a full disk or a read-only folder, too
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


def compare_results(
    reference: str,
    others: Sequence[str],
    root: Path,
    out: Path | None = None,
    measure: str | None = None,
    overall: bool = False,
) -> str:
    """Compare each of `others` with the reference; return the tables and what they say.

    Args:
        reference: ``[NAME=]RESULTS[,RESULTS...]``, see mss.eval.candidates.read_candidate.
        others: the same.
        root: folder of all systems' results.
        out: Markdown, CSV and plot are written there; None: nowhere.
        measure: the only measure to compare; None: all that both have.
        overall: leave the single sources out.
    """
    # Here, not above: --help needs no numbers.
    from mss.eval.candidates import read_candidate

    candidates = [read_candidate(named, root) for named in (reference, *others)]
    return _report(candidates, out, measure, overall)


def compare_grid(
    grid: str,
    named: Sequence[str] = (),
    unharmed: str | None = None,
    out: Path | None = None,
    measure: str | None = None,
    overall: bool = False,
) -> str:
    """Compare the configurations of a grid; return the tables and what they say.

    Args:
        grid: its name.
        named: what names the reference, and what the others; none: the first, and all others.
        unharmed: names a configuration that the reference has lost against: tell which share of
            that each of the others regains.
        out, measure, overall: as of compare_results.
    """
    from tools.compare_grid import choose, choose_one, grid_configurations, paired, runs_table
    from tools.compare_tables import recovery_table

    every, unfinished = grid_configurations(grid)
    first = choose_one(every, named[0]) if named else every[0]
    found = [c for pattern in named[1:] for c in choose(every, pattern)] if named[1:] else every
    others = [c for c in dict.fromkeys(found) if c is not first]
    if not others:
        raise ConfigError(f"{grid}: there is nothing to compare {first.name} with")
    clean = [choose_one(every, unharmed)] if unharmed else []
    if first in clean:
        raise ConfigError(
            f"--unharmed {unharmed}: is the reference; name the harmed one as REFERENCE"
        )
    first, *others = paired(grid, [first, *others, *(c for c in clean if c not in others)])
    notes = [f"{unfinished} runs of the grid are not finished"] if unfinished else []
    candidates = [c.candidate() for c in (first, *others)]
    tables = [runs_table([first, *others])]
    if clean:
        tables.append(recovery_table(candidates, clean[0].name, measure))
    return _report(candidates, out, measure, overall, tables, notes)


def _report(
    candidates: Sequence[Candidate],
    out: Path | None,
    measure: str | None,
    overall: bool,
    further: Sequence[Table] = (),
    remarks: Sequence[str] = (),
) -> str:
    """Compare all candidates with the first, and write it; `further` tables come behind."""
    from mss.core.files import write_text_atomic
    from mss.eval.comparison import ALL, compare
    from mss.report.plots import plot_paired
    from mss.report.tables import render_csv, render_markdown, render_text
    from tools.compare_tables import all_values, measure_panel, measure_table

    comparison = compare(candidates[0], candidates[1:], measure)
    shown = [
        replace(of, rows=tuple(row for row in of.rows if row.source == ALL or not overall))
        for of in comparison.measures
    ]
    tables = [*(measure_table(of, comparison.reference) for of in shown), *further]
    notes = [*remarks, *comparison.notes]
    notes += [f"not compared: {what}" for what in comparison.left_out]
    blocks = [render_text(table) for table in tables]
    if notes:
        blocks.append("\n".join(notes))
    if out is not None:
        markdown = [render_markdown(table) for table in tables]
        markdown += ["\n".join(f"- {note}" for note in notes) + "\n"] if notes else []
        write_text_atomic(out / f"{FILE_NAME}.md", "\n".join(markdown))
        write_text_atomic(out / f"{FILE_NAME}.csv", render_csv(all_values(comparison)))
        plot_paired(
            [measure_panel(of, comparison.reference) for of in shown], out / f"{FILE_NAME}.png"
        )
        blocks.append(f"Written: {out / FILE_NAME}.md, .csv and .png")
    return "\n\n".join(blocks)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare",
        description="Compare evaluations with a reference, song by song.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    form = "[NAME=]RESULTS[,RESULTS...]; with --grid: parts of a configuration's name"
    parser.add_argument("reference", metavar="REFERENCE", nargs="?", help=form)
    parser.add_argument("others", metavar="OTHER", nargs="*", help="the same")
    parser.add_argument("--grid", metavar="NAME", help="compare the configurations of a grid")
    parser.add_argument(
        "--unharmed",
        metavar="PATTERN",
        help="of --grid: tell how much of the loss against this one is regained",
    )
    parser.add_argument("--overall", action="store_true", help="leave the single sources out")
    parser.add_argument(
        "-o", "--out", type=Path, help="folder for comparison.md, .csv and .png (default: none)"
    )
    parser.add_argument("--measure", help="the only measure to compare, as nsdr (default: all)")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder of all systems' results (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
